"""Single elements of strings in a unit: the access, then the index goes on, up or down as DF says, and no flag changes.

The guest's DF is in the state. The host's RORX and SARX (BMI2) make a mask of it without touching flags.
"""

from __future__ import annotations

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import move_immediate
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.integer import IntegerEncoder, NotEncodable
from bt.host.reserved import cpu_flags
from bt.x86 import state
from bt.x86.flags import DF
from bt.x86.opcodes import Form, Width
from bt.x86.state import EAX, EDI, ESI

MEANINGS = frozenset(("string.lods", "string.stos", "string.scas", "string.movs"))
NEEDED = "bmi2"
"""Of the host's processor."""

_STATE, _FREE, _T = (FLAT_32.number(role) for role in ("state", "free", "t"))
_EBX = 3
_SIGN = 31
_LEA, _SIB_FOLLOWS, _BYTE_DISPLACEMENT = 0x8D, 4, 1 << 6
_WORD = b"\x66"
_LOAD, _STORE, _COMPARE = ({1: 0x8A, 4: 0x8B}, {1: 0x88, 4: 0x89}, {1: 0x3A, 4: 0x3B})
_LOAD_EXTENDED = {1: b"\x0f\xb6", 2: b"\x0f\xb7", 4: b"\x8b"}


def require_host() -> None:
    """Raises NotEncodable where the host has not what it takes."""
    if NEEDED not in cpu_flags():
        raise NotEncodable("the host has no BMI2")


def element_size(form: Form, i: Decoded) -> int:
    """Bytes of an element of a string."""
    return 1 if any(operand.width is Width.B for operand in form.operands) else i.operand_size // 8


def advanced(target: int, index: int, size: int) -> bytes:
    """lea target, [index + mask * 2 * size + size]"""
    sib = size.bit_length() << 6 | _EBX << 3 | index
    return bytes((_LEA, _BYTE_DISPLACEMENT | target << 3 | _SIB_FOLLOWS, sib, size))


def single_element(encoder: IntegerEncoder, form: Form, i: Decoded) -> tuple[tuple[bytes, bool], ...]:
    """Its host instructions, those that can fault with True. Raises NotEncodable."""
    require_host()
    if i.is_repeated or i.address_mask != 0xFFFFFFFF or not i.is_flat:
        raise NotEncodable("repeated, or not flat")
    size = element_size(form, i)
    source, destination, accumulator = (encoder.host(number) for number in (ESI, EDI, EAX))

    def access(opcodes: dict[int, int], register: int, index: int) -> tuple[bytes, bool]:
        opcode = bytes((opcodes[1 if size == 1 else 4],))
        return (_WORD if size == 2 else b"") + encoder.at(opcode, register, index, 0), True

    def advance(index: int) -> tuple[bytes, bool]:
        return advanced(index, index, size), False

    match form.meaning:
        case "string.lods":
            return access(_LOAD, accumulator, source), MASK, advance(source)
        case "string.stos":
            return access(_STORE, accumulator, destination), MASK, advance(destination)
        case "string.scas":
            return access(_COMPARE, accumulator, destination), MASK, advance(destination)
    load = encoder.at(_LOAD_EXTENDED[size], _T, source, 0), True
    return load, access(_STORE, _T, destination), MASK, advance(source), advance(destination)


def _mask() -> tuple[bytes, bool]:
    """rorx ebx, [state + eflags_system], so that DF is the sign; mov r12d, 31; sarx ebx, ebx, r12d"""
    turn = DF.bit_length() - 1 - _SIGN + 32
    modrm = 2 << 6 | _EBX << 3 | _STATE & 7
    code = bytes((0xC4, 0xC3, 0x7B, 0xF0, modrm)) + state.offset("eflags_system").to_bytes(4, "little", signed=True)
    code += bytes((turn,)) + move_immediate(_FREE) + _SIGN.to_bytes(4, "little")
    return code + bytes((0xC4, 0xE2, (~_FREE & 15) << 3 | 2, 0xF7, 3 << 6 | _EBX << 3 | _EBX)), False


assert _STATE >= 8
MASK = _mask()
