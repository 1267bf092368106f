"""Memory operands of code in segments of 64 KiB, whose bases are read from the state.

The effective address comes into EBX, of 16 bits or of 32, and the segment's base into T: the view is accessed at their
sum. What begins within a segment may end beyond it, which no flag may be spent on: first a byte is read at the last
byte's offset in 64 KiB that are there and nothing behind (PROBE in front of the view, or `offset_probe` for offsets of
32 bits). So whatever exceeds the limit traps, and the interpreter finds the fault. Nothing is to be probed where a byte
is accessed at an offset of 16 bits.
"""

from __future__ import annotations

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import based, memory_operand, move, rex
from bt.engine.identity.crossing import wide
from bt.engine.identity.making.operand_forms import VIEW, wrapping
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.integer import FREE_NUMBER, SCRATCH_NUMBER, IntegerEncoder, NotEncodable
from bt.engine.structures import NO_REGISTER
from bt.memory.host_mmu.layout import PROBE, PROBE_BYTES
from bt.x86.state import DS, LIMIT_8086, segment_offset

Parts = tuple[tuple[bytes, bool], ...]
"""Host instructions, those that can fault with True."""

EBX, T, FREE, STATE = 3, FLAT_32.number("t"), FLAT_32.number("free"), FLAT_32.number("state")
ENCODER = IntegerEncoder(FLAT_32, wrapping).with_register(FREE_NUMBER, T)
MOV_LOAD, MOV_STORE, MOVZX_BYTE, MOVZX_WORD, LEA = b"\x8b", b"\x89", b"\x0f\xb6", b"\x0f\xb7", b"\x8d"
OPERAND_SIZE = b"\x66"
_FAR_PROBE = wide(MOV_LOAD, T, "offset_probe")
_GS = VIEW[:1]
_BACKWARDS = 0xE000
assert PROBE_BYTES == LIMIT_8086 + 1


def plain(opcode: bytes, reg: int, base: int | None, index: int | None = None, displacement: int = 0) -> bytes:
    """A 32-bit instruction on host registers as an address, which is no guest address."""
    address, bits = memory_operand(reg, base, index, 0, displacement)
    return (bytes((0x40 | bits,)) if bits else b"") + opcode + address


def zero_extended(target: int, source: int) -> bytes:
    """movzx r32, r16"""
    prefix = rex(target, base=source)
    code = MOVZX_WORD + bytes((0xC0 | (target & 7) << 3 | source & 7,))
    return (bytes((prefix,)) if prefix != 0x40 else b"") + code


def set_word(target: int, source: int) -> bytes:
    """mov r16, r16"""
    return OPERAND_SIZE + move(target, source)


def probe(register: int, size: int, *, wraps: bool) -> Parts:
    """Trap unless `size` bytes at an offset in a host register are within 64 KiB. T is destroyed. `wraps`: the offset
    has 16 bits."""
    if wraps:
        return ((_GS + plain(MOVZX_BYTE, T, register, displacement=PROBE + size - 1), True),)
    return (_FAR_PROBE, False), (plain(MOVZX_BYTE, T, T, register, size - 1), True)


def probe_window(register: int, low: int, high: int) -> Parts:
    """Trap unless the offsets from `low` to `high` from a host register, all its 32 bits, are within 64 KiB. EBX and T
    are destroyed."""
    below = ((plain(MOVZX_BYTE, EBX, T, register, low), True),) if low < 0 else ()
    return ((_FAR_PROBE, False), *below, (plain(MOVZX_BYTE, EBX, T, register, high), True))


def base_of(segment: int) -> tuple[bytes, bool]:
    """mov T, base of a segment"""
    return based(MOV_LOAD, T, STATE, segment_offset(segment, "base")), False


class Place:
    """Where guest memory is accessed: `before` makes its base register and T what `access` takes them for.

    `base`: a register as encoders number them, NO_REGISTER for none.
    """

    def __init__(self, before: Parts, base: int, displacement: int = 0) -> None:
        self.before = before
        self._base, self._displacement = base, displacement

    @property
    def _host(self) -> int | None:
        return None if self._base == NO_REGISTER else ENCODER.host(self._base)

    @property
    def sum(self) -> tuple[bytes, bool]:
        """lea EBX, where it is"""
        return plain(LEA, EBX, self._host, T, self._displacement), False

    def access(self, opcode: bytes, reg: int, *, further: int = 0, size: int = 4) -> tuple[bytes, bool]:
        """An instruction on that memory, or on what lies `further` bytes behind; 66 in front for a size of 2."""
        address, bits = memory_operand(reg, self._host, T, 0, self._displacement + further)
        prefixes = VIEW + (OPERAND_SIZE if size == 2 else b"")
        return prefixes + bytes((0x40 | bits,)) + opcode + address, True

    def load(self, target: int, size: int, *, further: int = 0) -> tuple[bytes, bool]:
        """Into a whole host register, zero-extended from `size` bytes."""
        return self.access({1: MOVZX_BYTE, 2: MOVZX_WORD, 4: MOV_LOAD}[size], target, further=further)

    def store(self, source: int, size: int) -> tuple[bytes, bool]:
        """The lower `size` bytes (2 or 4) of a host register."""
        return self.access(MOV_STORE, source, size=size)

    def store_at(self, source: int, further: int) -> tuple[bytes, bool]:
        """The lower two bytes of a host register, `further` bytes behind."""
        return self.access(MOV_STORE, source, further=further, size=2)

    def of(self, i: Decoded) -> Decoded:
        """An instruction with its operand there."""
        flat = i._replace(segment=DS, address_mask=0xFFFF_FFFF, base_number=self._base, index_number=FREE_NUMBER)
        return flat._replace(scale=0, displacement=self._displacement & 0xFFFF_FFFF)


def at_offset(offset: Parts, segment: int, size: int, *, wraps: bool) -> Place:
    """The place of `size` bytes at the offset that `offset` puts into EBX; `wraps`: it has 16 bits."""
    check = () if wraps and size == 1 else probe(EBX, size, wraps=wraps)
    return Place((*offset, *check, base_of(segment)), SCRATCH_NUMBER)


def place_of(i: Decoded, size: int, known: frozenset[int]) -> Place:
    """That of an instruction's memory operand of `size` bytes. `known`: base registers from which all that is accessed
    is known to be within 64 KiB (windows.py). Raises NotEncodable."""
    wraps = i.address_mask == LIMIT_8086
    if i.base_number == i.index_number == NO_REGISTER:
        offset = i.displacement & i.address_mask
        if offset + size - 1 > LIMIT_8086:
            raise NotEncodable("beyond its segment")
        return Place((base_of(i.segment),), NO_REGISTER, offset)
    if (base := lone_base(i)) in known:
        return Place((base_of(i.segment),), base, near(i.displacement))
    return at_offset(effective_address(i), i.segment, size, wraps=wraps)


def lone_base(i: Decoded) -> int:
    """The register that a memory operand with an address of 16 bits is counted from, if there is one; else
    NO_REGISTER."""
    if i.address_mask != LIMIT_8086 or i.index_number != NO_REGISTER:
        return NO_REGISTER
    return i.base_number


def near(displacement: int) -> int:
    """A displacement of 16 bits as it is most likely meant: back into a frame, or from a table's beginning on."""
    low = displacement & LIMIT_8086
    return low - PROBE_BYTES if low >= _BACKWARDS else low


def effective_address(i: Decoded) -> Parts:
    """EBX = effective address, cut to the address size."""
    whole = i._replace(base_number=i.index_number, index_number=NO_REGISTER) if i.base_number == NO_REGISTER else i
    alone = whole.base_number != NO_REGISTER == whole.index_number and not i.displacement and not i.scale
    wraps = i.address_mask == LIMIT_8086
    if alone:
        register = ENCODER.host(whole.base_number)
        return (((zero_extended if wraps else move)(EBX, register), False),)
    address, bits = memory_operand(EBX, *ENCODER.parts(i))
    code = (bytes((0x40 | bits,)) if bits else b"") + LEA + address
    return ((code, False), (zero_extended(EBX, EBX), False)) if wraps else ((code, False),)
