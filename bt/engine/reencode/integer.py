"""Re-encoding, in Python: the guest's integer instruction as the host executes it, for units of tier 2.

As for floating point (encode.py) the instruction's own bytes are not looked at again: prefix and opcode come from its
form, ModRM and all else from the decoded record. General registers become those of the register plan; a memory operand
becomes what an operand form makes of its base, index and displacement. All else stays, so results and flags are the
host processor's.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache
from typing import NamedTuple

from bt.codegen.abi import RegisterPlan
from bt.codegen.host_bytes import memory_operand
from bt.engine.reencode.decoded import Decoded
from bt.engine.structures import NO_REGISTER
from bt.x86.opcodes import FORMS, Form, InstructionClass, Method, Width
from bt.x86.opcodes.encoding import parse_encoding
from bt.x86.state import EAX, EBX

_OPERAND_SIZE = b"\x66"
_REX, _REX_R, _REX_B = 0x40, 4, 1
_FIRST_HIGH = 4  # byte registers from here on are ah ch dh bh
_BH = 7
# Of operands that we make: beside the guest's registers, host registers that are nobody's.
SCRATCH_NUMBER, FREE_NUMBER = NO_REGISTER + 1, NO_REGISTER + 2
_NONE, _EBX = -1, 3

# What the host does alike in 64-bit mode: of these modules, but for what is not there, has a fixed register that moved,
# or leaves other flags undefined than bt does (BSF and BSR of zero).
_ALIKE = frozenset(("arith", "bits", "flags", "logic", "move", "shift"))
_NOT_ALIKE = frozenset(("move.salc", "move.xlat", "arith.cmpxchg8b", "bits.bsf", "bits.bsr"))
_UNDEFINED_RESULTS = frozenset(("shift.shld", "shift.shrd", "move.bswap"))  # with 16-bit operands
_BIT_TESTS = frozenset(("bits.bt", "bits.bts", "bits.btr", "bits.btc"))


OperandForm = Callable[[int, int | None, int | None, int, int], tuple[bytes, bytes, int]]
"""Guest memory at [base + (index << scale) + displacement], host registers: prefixes in front of all; ModRM and what
follows it; bits of REX. The first parameter is the other operand, a register or an opcode extension."""


class NotEncodable(Exception):
    """The host has no such instruction, or not with these registers: the interpreter does it."""


class _Shape(NamedTuple):
    """What of a form's encoding does not depend on the instruction."""

    opcode: bytes  # escape included
    modrm: bool
    digit: int | None  # in ModRM.reg
    reg_byte: bool
    rm_byte: bool
    opcode_register: bool
    offset: bool  # memory at an offset, without ModRM
    immediate: Width | None
    sized: bool  # the operand size has a say


# Opcodes that are undefined in 64-bit mode, and one that does the same; one-byte forms whose opcode means something
# else there, and the form with ModRM for them.
_ALIASES = {b"\x82": b"\x80"}
_LONG_FORMS = {"arith.inc": (b"\xff", 0), "arith.dec": (b"\xff", 1)}


@cache
def shape_of(number: int) -> _Shape:
    form = FORMS[number]
    alike = form.cls is InstructionClass.IDENTITY and form.meaning.split(".")[0] in _ALIKE
    alike = alike and form.meaning not in _NOT_ALIKE and "d" not in form.writes  # DF is the guest's
    if not alike:  # undefined encodings among them
        raise NotEncodable(form.name)
    encoding = parse_encoding(form.encoding)
    known = encoding.opcode_map < 2 and form.cpuid in (None, "cmov") and not encoding.prefix
    if not known:
        raise NotEncodable(form.name)
    methods = {operand.method: operand for operand in form.operands}
    opcode_register = Method.OPCODE_REGISTER in methods
    opcode = encoding.escape + bytes((encoding.opcodes[0],))
    opcode = _ALIASES.get(opcode, opcode)
    digit = encoding.regs[0] if encoding.modrm and len(encoding.regs) <= 2 else None
    modrm = encoding.modrm
    if opcode_register and form.meaning in _LONG_FORMS:
        opcode, digit = _LONG_FORMS[form.meaning]
        modrm, opcode_register = True, False
    immediate = methods.get(Method.IMMEDIATE)
    rm = methods.get(Method.REGISTER_OR_MEMORY) or methods.get(Method.OPCODE_REGISTER)
    reg = methods.get(Method.REGISTER)
    offset = Method.OFFSET in methods
    if offset:  # A0-A3, 88-8B: load bit is the other way round
        opcode = bytes((0x88 | opcode[0] & 1 | (~opcode[0] & 2),))
        digit, modrm = EAX, True
    return _Shape(
        opcode,
        modrm,
        digit,
        reg is not None and reg.width is Width.B,
        rm is not None and rm.width is Width.B,
        opcode_register,
        offset,
        immediate.width if immediate else None,
        form.fixed_operand_size is None,
    )


def is_nothing(form: Form) -> bool:
    """Whether a form does nothing at all but go on."""
    return form.meaning == "move.nop"


class IntegerEncoder:
    """Encodes for the registers of a plan; `memory`: what memory operands become."""

    def __init__(self, plan: RegisterPlan, memory: OperandForm) -> None:
        self._registers = (*plan.guest_numbers, _NONE, _EBX, plan.number("free"))
        self._memory = memory

    def with_register(self, number: int, host: int) -> IntegerEncoder:
        """One for which the register of a number is another host register."""
        other = copy(self)
        other._registers = (*self._registers[:number], host, *self._registers[number + 1 :])
        return other

    def encode(self, i: Decoded) -> bytes:
        """Host bytes of one instruction. Raises NotEncodable."""
        shape = shape_of(i.form)
        if i.operand_size == 16 and FORMS[i.form].meaning in _UNDEFINED_RESULTS:
            raise NotEncodable("processors differ in the result")
        size = _OPERAND_SIZE if shape.sized and i.operand_size == 16 else b""
        immediate = self._immediate(shape, i)
        if not shape.modrm:
            return size + self._short(shape, i) + immediate
        reg, high = self._register_field(shape, i)
        if i.is_memory and FORMS[i.form].meaning != "move.lea":
            if not i.is_flat:
                raise NotEncodable("segment or address size")
            if FORMS[i.form].meaning in _BIT_TESTS and shape.immediate is None:
                raise NotEncodable("bit string in memory")
            prefixes, address, rex = self._memory(reg, *self.parts(i))
            prefixes += size
        elif i.is_memory:
            if i.address_mask != 0xFFFFFFFF:
                raise NotEncodable("address size")
            address, rex = memory_operand(reg, *self.parts(i))
            prefixes = size
        else:
            rm, is_high = self._register(i.rm_number, byte=shape.rm_byte)
            high = high or is_high
            address, rex = bytes((0xC0 | (reg & 7) << 3 | rm & 7,)), (reg >> 3) * _REX_R | (rm >> 3) * _REX_B
            prefixes = size
        if rex and high:
            raise NotEncodable("ah beside a register that needs REX")
        return prefixes + (bytes((_REX | rex,)) if rex else b"") + shape.opcode + address + immediate

    def load(self, target: int, i: Decoded) -> bytes:
        """mov target, its memory operand (32 bits). Raises NotEncodable."""
        return self.at_operand(b"\x8b", target, i)

    def at_operand(self, opcode: bytes, reg: int, i: Decoded) -> bytes:
        """Any instruction on its memory operand; `reg`: a host register, or an opcode extension."""
        prefixes, rex, address = self.operand(reg, i)
        return prefixes + rex + opcode + address

    def operand(self, reg: int, i: Decoded) -> tuple[bytes, bytes, bytes]:
        """What of an instruction its memory operand decides: prefixes in front of all, REX in front of the opcode, and
        what follows that. Raises NotEncodable."""
        if not i.is_flat:
            raise NotEncodable("segment or address size")
        prefixes, address, rex = self._memory(reg, *self.parts(i))
        return prefixes, bytes((_REX | rex,)) if rex else b"", address

    def operand_at(self, reg: int, base: int, displacement: int = 0) -> tuple[bytes, bytes, bytes]:
        """The same for guest memory at [host register + displacement]."""
        prefixes, address, rex = self._memory(reg, base, None, 0, displacement)
        return prefixes, bytes((_REX | rex,)) if rex else b"", address

    def operand_address(self, target: int, i: Decoded) -> bytes:
        """lea target, its memory operand (32 bits). Raises NotEncodable."""
        if not i.is_flat:
            raise NotEncodable("segment or address size")
        address, rex = memory_operand(target, *self.parts(i))
        return (bytes((_REX | rex,)) if rex else b"") + b"\x8d" + address

    @staticmethod
    def rex(reg: int, rm: int) -> bytes:
        """The prefix that two host registers in ModRM want, if they want one."""
        bits = (reg >> 3) * _REX_R | (rm >> 3) * _REX_B
        return bytes((_REX | bits,)) if bits else b""

    def at(self, opcode: bytes, reg: int, base: int, displacement: int) -> bytes:
        """Any instruction on guest memory at [host register + displacement]."""
        prefixes, rex, address = self.operand_at(reg, base, displacement)
        return prefixes + rex + opcode + address

    def host(self, number: int) -> int:
        """Host number of a guest register."""
        return self._registers[number]

    def parts(self, i: Decoded) -> tuple[int | None, int | None, int, int]:
        """Of the memory operand: host base and index, scale, displacement."""
        base = None if i.base_number == NO_REGISTER else self._registers[i.base_number]
        index = None if i.index_number == NO_REGISTER else self._registers[i.index_number]
        return base, index, i.scale, i.signed_displacement

    def _register(self, number: int, *, byte: bool) -> tuple[int, bool]:
        """Host register of an operand, and whether it is one that REX takes away."""
        if byte and number >= _FIRST_HIGH:
            if number == _BH and self._registers[EBX] >= 8:
                raise NotEncodable("bh")
            return number, True
        return self._registers[number], False

    def _register_field(self, shape: _Shape, i: Decoded) -> tuple[int, bool]:
        if shape.digit is not None:
            return shape.digit, False
        return self._register(i.reg_number, byte=shape.reg_byte)

    def _short(self, shape: _Shape, i: Decoded) -> bytes:
        """An opcode without ModRM, perhaps with a register in it."""
        if not shape.opcode_register:
            return shape.opcode
        number, high = self._register(i.rm_number, byte=shape.rm_byte)
        opcode = shape.opcode[:-1] + bytes((shape.opcode[-1] & 0xF8 | number & 7,))
        if number < 8 or high:
            return opcode
        return bytes((_REX | _REX_B,)) + opcode

    def _immediate(self, shape: _Shape, i: Decoded) -> bytes:
        match shape.immediate:
            case None:
                return b""
            case Width.B | Width.BS:
                return bytes((i.immediate & 0xFF,))
            case Width.W:
                return (i.immediate & 0xFFFF).to_bytes(2, "little")
            case _:
                size = 2 if i.operand_size == 16 else 4
                return (i.immediate & (1 << 8 * size) - 1).to_bytes(size, "little")
