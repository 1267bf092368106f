"""Arithmetic flags that need not be saved: code that makes them once more, as long as its registers are what they were.

What looks an address up destroys EFLAGS, and hardly ever does anybody want what was there. So behind the most common
instructions nothing is saved: whoever does want them (a stub, a reader) repeats the comparison, tests the result, or
takes the sum apart and adds it up again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from bt.engine.identity.long.decoded import Essence, LongDecoded
from bt.engine.identity.long.encoding import HOST, NOWHERE, RESIDENT, i32, instruction
from bt.engine.identity.long.integer import encode_essence
from bt.x86.opcodes import Method, Operand, Width

_LOGIC = frozenset(("logic.and_", "logic.or_", "logic.xor"))
_ADD, _SUB = 0, 5  # digits of 81
_RAX, _RCX, _RDX = 0, 1, 2
_IMPLICIT = {
    **dict.fromkeys(("move.cbw", "flags.lahf", "arith.cmpxchg"), frozenset((_RAX,))),
    **dict.fromkeys(("arith.mul", "arith.imul", "arith.div", "arith.idiv"), frozenset((_RAX, _RDX))),
    "move.cwd": frozenset((_RDX,)),
    "fp.test_index": frozenset((_RCX,)),
    "fp.test_lengths_index": frozenset((_RCX,)),
}
_WRITES_BOTH = frozenset(("move.xchg", "arith.xadd"))


class Recipe(NamedTuple):
    """`code` makes the flags anew from these guest registers, and leaves all registers as they are."""

    code: bytes
    registers: frozenset[int]


def number_of(i: LongDecoded | Essence, operand: Operand) -> int | None:
    """The guest register that an operand is; None: it is none, or one of AH to BH."""
    match operand.method:
        case Method.REGISTER:
            number = i.reg_number
        case Method.REGISTER_OR_MEMORY if not i.is_memory:
            number = i.rm_number
        case Method.OPCODE_REGISTER | Method.REGISTER_RM:
            number = i.rm_number
        case Method.FIXED_REGISTER:
            return operand.number
        case _:
            return None
    return None if operand.width is Width.B and 4 <= number < 8 and not i.rex else number


def written(i: Essence) -> frozenset[int]:
    """Guest registers that an instruction writes, or more; but for those of the stack and of control."""
    form = i.its_form
    found = set(_IMPLICIT.get(form.meaning, ()))
    operands = form.operands if form.meaning in _WRITES_BOTH else form.operands[:1]
    for operand in operands:
        number = number_of(i, operand)
        if number is not None:
            found.add(number)
        elif operand.width in (Width.B, Width.DB):  # perhaps AH to BH
            found |= {i.reg_number & 3, i.rm_number & 3}
    return frozenset(found)


@lru_cache(1 << 14)
def recipe_of(i: Essence) -> Recipe | None:
    """For the flags behind an instruction that sets all of them."""
    form = i.its_form
    if not form.operands:
        return None
    first = form.operands[0]
    if form.meaning in ("arith.cmp", "logic.test"):
        if i.is_memory:
            return None
        numbers = [number_of(i, operand) for operand in form.operands if operand.method is not Method.IMMEDIATE]
        if any(number is None or number in RESIDENT for number in numbers):
            return None
        return Recipe(encode_essence(i, NOWHERE), frozenset(number for number in numbers if number is not None))
    target = number_of(i, first)
    if target is None or target in RESIDENT:
        return None
    is_byte = first.width is Width.B
    size = 8 if is_byte else i.operand_size
    prefix, wide = b"\x66" if size == 16 else b"", size == 64
    host = HOST[target]
    if form.meaning in _LOGIC:
        opcode = b"\x84" if is_byte else b"\x85"
        code = instruction(opcode, host, host, wide=wide, prefix=prefix, low_bytes=is_byte)
        return Recipe(code, frozenset((target,)))
    if form.meaning not in ("arith.add", "arith.sub") or is_byte:
        return None
    add_first = form.meaning == "arith.sub"
    second = form.operands[1]
    if second.method is Method.IMMEDIATE:
        value = i.immediate & (1 << min(size, 32)) - 1
        tail = value.to_bytes(2, "little") if size == 16 else i32(value - ((value & 1 << 31) << 1))
        one, other = (
            instruction(b"\x81", digit, host, wide=wide, prefix=prefix) + tail
            for digit in ((_ADD, _SUB) if add_first else (_SUB, _ADD))
        )
        return Recipe(one + other, frozenset((target,)))
    source = number_of(i, second)
    if source is None or source in RESIDENT or source == target:
        return None
    one, other = (
        instruction(opcode, HOST[source], host, wide=wide, prefix=prefix)
        for opcode in ((b"\x01", b"\x29") if add_first else (b"\x29", b"\x01"))
    )
    return Recipe(one + other, frozenset((target, source)))
