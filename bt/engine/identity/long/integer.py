"""The guest's integer instruction as the host executes it, on other registers and at another address."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

from bt.engine.identity.long.decoded import Essence, LongDecoded
from bt.engine.identity.long.encoding import (
    HOST,
    RESIDENT,
    S0,
    S1,
    Address,
    NotEncodable,
    constant,
    gpr,
    instruction,
    load,
    store,
)
from bt.engine.interp.variants import Variant, variant_for
from bt.engine.reencode.integer import NotEncodable as NotAlike
from bt.engine.reencode.integer import shape_of
from bt.engine.structures import NO_REGISTER_LONG
from bt.x86.opcodes import FORMS, Form, Method, Width

_OPERAND_SIZE = b"\x66"
_READERS = frozenset(  # of the first operand
    ("arith.cmp", "logic.test", "bits.bt", "arith.mul", "arith.imul", "arith.div", "arith.idiv", "stack.push",
     "control.jmp_indirect", "control.call_indirect")
)  # fmt: skip
_BIT_TESTS = frozenset(("bits.bt", "bits.bts", "bits.btr", "bits.btc"))
_UNDEFINED_RESULTS = frozenset(("shift.shld", "shift.shrd", "move.bswap"))  # with 16-bit operands
_MEMORY = frozenset((Method.REGISTER_OR_MEMORY, Method.MEMORY_ONLY, Method.OFFSET))


class Access(NamedTuple):
    """What an instruction accesses."""

    size: int  # bytes
    write: bool
    aligned: bool = False  # it is #GP(0) unless the address is a multiple of the size


def access(i: LongDecoded) -> Access:
    """Of the explicit memory operand."""
    return access_of(i.form, i.variant)


@cache
def access_of(number: int, variant_bits: int) -> Access:
    """The same of a form."""
    form = FORMS[number]
    place, operand = next((n, o) for n, o in enumerate(form.operands) if o.method in _MEMORY)
    variant: Variant = variant_for(form, variant_bits, long=True)
    return Access(variant.width_of(operand) // 8, place == 0 and form.meaning not in _READERS)


def address_parts(i: LongDecoded) -> list[bytes]:
    """Code that makes the linear address, without the segment's base, in r10; r11 stays, flags may go."""
    if i.address_size_32:
        raise NotEncodable("32-bit address")
    base = None if i.base_number == NO_REGISTER_LONG else i.base_number
    index = None if i.index_number == NO_REGISTER_LONG else i.index_number
    displacement = i.displacement
    if base is None and index is None:
        return [constant(S0, displacement)]
    code = []
    host_base = None if base is None else HOST[base]
    host_index = None if index is None else HOST[index]
    if index in RESIDENT and index is not None:
        code.append(load(S0, gpr(index)))
        host_index = S0
        if base in RESIDENT and base is not None:
            code.append(instruction(b"\x8d", S0, Address(None, displacement, S0, i.scale), wide=True))
            code.append(instruction(b"\x03", S0, gpr(base), wide=True))
            return code
    elif base in RESIDENT and base is not None:
        code.append(load(S0, gpr(base)))
        host_base = S0
    code.append(instruction(b"\x8d", S0, Address(host_base, displacement, host_index, i.scale), wide=True))
    return code


@cache
def is_one_of_ours(form: Form) -> bool:
    """Whether it can be encoded at all."""
    try:
        shape_of(form.id)
    except NotAlike:
        return False
    return True


def encode_essence(i: Essence, where: Address) -> bytes:
    """An instruction other than LEA, its memory operand at `where`.

    Resident registers pass through r11, and r10 without memory operand. No other code changes flags. Raises
    NotEncodable.
    """
    before, operand, after = _parts(i)
    if not isinstance(operand, _Operand):
        return before + operand + after
    if operand.exchanges:
        return _exchange(operand.reg, where, before, wide=operand.wide)
    code = instruction(operand.opcode, operand.reg, where, wide=operand.wide, low_bytes=operand.low)
    if operand.high and code[0] & 0xF0 == 0x40:
        raise NotEncodable("ah beside a register that needs REX")
    return before + code + after


class _Operand(NamedTuple):
    """An instruction with an operand in memory: all but where that is."""

    opcode: bytes
    reg: int
    wide: bool
    low: bool  # registers 4 to 7 are SPL to DIL
    high: bool  # or AH to BH
    exchanges: bool  # with a register that has a host register, of at least 16 bits


@lru_cache(1 << 14)
def _parts(i: Essence) -> tuple[bytes, bytes | _Operand, bytes]:
    """What is in front, the instruction, and what is behind."""
    form = i.its_form
    try:
        shape = shape_of(i.form)
    except NotAlike as why:
        raise NotEncodable(str(why)) from None
    if i.operand_size == 16 and form.meaning in _UNDEFINED_RESULTS:
        raise NotEncodable("processors differ in the result")
    prefix = _OPERAND_SIZE if shape.sized and i.operand_size == 16 else b""
    wide = shape.sized and i.operand_size == 64
    immediate = _immediate(shape.immediate, i)
    if not shape.modrm and not shape.opcode_register:
        return prefix, (b"\x48" if wide else b"") + shape.opcode, immediate
    if i.is_memory and form.meaning in _BIT_TESTS and shape.immediate is None:
        raise NotEncodable("bit string in memory")
    before, after = b"", b""
    free = [S1] if i.is_memory else [S0, S1]
    homes: dict[int, int] = {}

    def home(number: int) -> int:
        nonlocal before, after
        if number not in RESIDENT:
            return HOST[number]
        if number not in homes:
            homes[number] = free.pop()
            before += load(homes[number], gpr(number))
            if form.meaning not in _READERS:
                after += store(gpr(number), homes[number])
        return homes[number]

    high = False
    low = False

    def register(number: int, *, byte: bool) -> int:
        nonlocal high, low
        if byte and 4 <= number < 8:
            if not i.rex:
                high = True
                return number
            low = True
        return home(number)

    if shape.opcode_register:
        number = register(i.rm_number, byte=shape.rm_byte)
        rex = (0x48 if wide else 0x40 if low else 0) | (0x41 if number >= 8 else 0)
        if high and rex:
            raise NotEncodable("ah")
        opcode = shape.opcode[:-1] + bytes((shape.opcode[-1] & 0xF8 | number & 7,))
        return before + prefix + (bytes((rex,)) if rex else b""), opcode, immediate + after
    reg = shape.digit if shape.digit is not None else register(i.reg_number, byte=shape.reg_byte)
    if i.is_memory:
        exchanges = form.meaning == "move.xchg" and not shape.rm_byte and i.reg_number not in RESIDENT
        return before + prefix, _Operand(shape.opcode, reg, wide, low, high, exchanges), immediate + after
    rm = register(i.rm_number, byte=shape.rm_byte)
    code = instruction(shape.opcode, reg, rm, wide=wide, low_bytes=low)
    if high and code[0] & 0xF0 == 0x40:
        raise NotEncodable("ah beside a register that needs REX")
    return before + prefix, code, immediate + after


def _exchange(reg: int, where: Address, prefix: bytes, *, wide: bool) -> bytes:
    """XCHG without the lock of the host's own, for which see making/sequences.py."""
    load = prefix + instruction(b"\x8b", S1, where, wide=wide)
    store = prefix + instruction(b"\x89", reg, where, wide=wide)
    return load + store + prefix + instruction(b"\x8b", reg, S1, wide=wide)


def encode_lea(i: LongDecoded) -> bytes:
    """LEA, as `encode_essence`."""
    if i.address_size_32:
        raise NotEncodable("32-bit address")
    base = None if i.base_number == NO_REGISTER_LONG else i.base_number
    index = None if i.index_number == NO_REGISTER_LONG else i.index_number
    prefix, wide = _OPERAND_SIZE if i.operand_size == 16 else b"", i.operand_size == 64
    before = b""
    host_base = None if base is None else HOST[base]
    host_index = None if index is None else HOST[index]
    if base in RESIDENT and base is not None:
        before, host_base = load(S0, gpr(base)), S0
    if index in RESIDENT and index is not None:
        before, host_index = before + load(S1, gpr(index)), S1
    target = S0 if i.reg_number in RESIDENT else HOST[i.reg_number]
    if host_base is None and host_index is None and not -(1 << 31) <= i.displacement < 1 << 31:
        if i.operand_size != 64:
            raise NotEncodable("lea of a far address")
        before += constant(target, i.displacement)
    else:
        where = Address(host_base, i.displacement, host_index, i.scale)
        before += instruction(b"\x8d", target, where, wide=wide, prefix=prefix)
    if i.reg_number in RESIDENT:
        if i.operand_size == 16:
            raise NotEncodable("lea of 16 bits")
        before += store(gpr(i.reg_number), S0)
    return before


def _immediate(width: Width | None, i: Essence) -> bytes:
    match width:
        case None:
            return b""
        case Width.B | Width.BS:
            return bytes((i.immediate & 0xFF,))
        case Width.W:
            return (i.immediate & 0xFFFF).to_bytes(2, "little")
        case Width.V if i.operand_size == 64:
            return (i.immediate & (1 << 64) - 1).to_bytes(8, "little")
        case _:
            size = 2 if i.operand_size == 16 else 4
            return (i.immediate & (1 << 8 * size) - 1).to_bytes(size, "little")
