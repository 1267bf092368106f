"""Arithmetic flags that need not be saved: code that makes them once more from what they depend on.

What looks an address up destroys EFLAGS, and hardly ever does anybody want what was there. So behind the most common
instructions nothing is saved: whoever does want them (a stub, a reader) repeats the comparison, tests the result, or
takes the sum apart and adds it up again. Where the result does not tell CF, one byte does (`KEEP_CARRY`); behind a
multiplication it tells OF, too, and the others are as before (`product`). A register that is about to be overwritten is
put into the state, and the recipe takes it from there (`Recipe.without`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from bt.engine.identity.layout import LATE_CARRIED_OF, LATE_NO_OF
from bt.engine.identity.long.decoded import Essence, LongDecoded
from bt.engine.identity.long.encoding import HOST, LOAD, RESIDENT, S1, Address, gpr, i32, instruction, load, slot, store
from bt.engine.identity.long.repairs import count_of, late, save_product, save_with
from bt.x86.opcodes import Method, Operand, Width

_LOGIC = frozenset(("logic.and_", "logic.or_", "logic.xor"))
_RAX, _RCX, _RDX = 0, 1, 2
_IMPLICIT = {
    **dict.fromkeys(("move.cbw", "flags.lahf", "arith.cmpxchg"), frozenset((_RAX,))),
    **dict.fromkeys(("arith.mul", "arith.imul", "arith.div", "arith.idiv"), frozenset((_RAX, _RDX))),
    "move.cwd": frozenset((_RDX,)),
    "fp.test_index": frozenset((_RCX,)),
    "fp.test_lengths_index": frozenset((_RCX,)),
}
_WRITES_BOTH = frozenset(("move.xchg", "arith.xadd"))


# The byte in the state is 1 where CF is clear: setnc byte memory; cmp byte memory, 1
_CARRY, _TARGET, _SOURCE = (slot("flag_sources", n) for n in range(3))
KEEP_CARRY = instruction(b"\x0f\x93", 0, _CARRY)
LOAD_CARRY = instruction(b"\x80", 7, _CARRY) + b"\x01"


class _Operation(NamedTuple):
    """op target, source; or by `digit` op target, immediate; op target. The opcode is the one of more than a byte."""

    opcode: bytes
    digit: int | None = None
    immediate: bytes = b""


_ADD, _SUB, _CMP, _TEST = (_Operation(bytes((opcode,))) for opcode in (0x03, 0x2B, 0x3B, 0x85))
_INC, _DEC, _NEG, _RCR = (
    _Operation(opcode, digit) for opcode, digit in ((b"\xff", 0), (b"\xff", 1), (b"\xf7", 3), (b"\xd1", 3))
)
_WITH_IMMEDIATE = {_ADD: (b"\x81", 0), _SUB: (b"\x81", 5), _CMP: (b"\x81", 7), _TEST: (b"\xf7", 0)}


class _Operand(NamedTuple):
    """A guest register, and where that value of it is: a host register, or in the state."""

    number: int
    place: int | Address


class Recipe(NamedTuple):
    """`code` makes the flags anew, `saver` saves them; both leave all registers as they are but r11."""

    code: bytes
    due: int  # LATE_* bits that are not right yet behind it
    saver: bytes
    registers: frozenset[int]  # guest registers that they depend on
    wants_carry: bool  # as KEEP_CARRY has it
    is_product: bool  # `code` saves them, `saver` leaves them nowhere else
    made_from: _Ingredients

    def without(self, number: int) -> tuple[bytes, Recipe]:
        """Code that puts a guest register into the state, changing no flags but r11; and the recipe for then."""
        return _without(self, number)


class _Ingredients(NamedTuple):
    operations: tuple[_Operation, ...] = ()
    size: int = 64  # bits
    target: _Operand | None = None  # None: they are saved
    source: _Operand | None = None  # None: the target itself
    wants_carry: bool = False
    due: int = 0
    is_product: bool = False

    def recipe(self) -> Recipe:
        operands = [each for each in (self.target, self.source) if each is not None]
        # those that stay in the state are where they are until they are put elsewhere
        registers = frozenset(each.number for each in operands if each.place not in (_TARGET, _SOURCE))
        code = self._code()
        saver = code + save_with(self.due) if code else b""
        if self.is_product:
            saver += LOAD_CARRY + save_product()
            return Recipe(saver + LOAD, 0, saver, registers, True, True, self)
        return Recipe(code, self.due, saver, registers, self.wants_carry, False, self)

    def _code(self) -> bytes:
        """Operations are done to the target, or to a copy in r11 if it is in the state."""
        if self.target is None:
            return b""
        prefix, wide, is_byte = b"\x66" if self.size == 16 else b"", self.size == 64, self.size == 8
        target = self.target.place
        code = LOAD_CARRY if self.wants_carry else b""
        if isinstance(target, Address):
            code += load(S1, target)
            target = S1
        for opcode, digit, immediate in self.operations:
            by_size = bytes((opcode[0] & 0xFE,)) if is_byte else opcode
            reg, rm = (target, self.source.place if self.source else target) if digit is None else (digit, target)
            code += instruction(by_size, reg, rm, wide=wide, prefix=prefix, low_bytes=is_byte) + immediate
        return code


@lru_cache(1 << 12)
def _without(recipe: Recipe, number: int) -> tuple[bytes, Recipe]:
    code = b""

    def put(operand: _Operand, place: Address) -> _Operand:
        nonlocal code
        if operand.number != number or operand.place in (_TARGET, _SOURCE):
            return operand
        if isinstance(operand.place, Address):
            code += load(S1, operand.place) + store(place, S1)
        else:
            code += store(place, operand.place)
        return operand._replace(place=place)

    made_from = recipe.made_from
    if made_from.target is not None:
        made_from = made_from._replace(target=put(made_from.target, _TARGET))
    if made_from.source is not None:
        made_from = made_from._replace(source=put(made_from.source, _SOURCE))
    return code, made_from.recipe()


def product(before: Recipe | None) -> Recipe:
    """For the flags behind a multiplication, by what makes those of before it (None: they are saved)."""
    return (_Ingredients() if before is None else before.made_from)._replace(is_product=True).recipe()


def _operand(number: int) -> _Operand:
    return _Operand(number, gpr(number) if number in RESIDENT else HOST[number])


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
    if not form.operands or i.is_memory:
        return None
    number = number_of(i, form.operands[0])
    if number is None:
        return None
    size = 8 if form.operands[0].width is Width.B else i.operand_size
    target = _operand(number)
    match form.meaning:
        case "arith.cmp":
            return _of_two(i, size, target, (_CMP,))
        case "logic.test":
            return _of_two(i, size, target, (_TEST,))
        case "arith.add":
            return _of_two(i, size, target, (_SUB, _ADD))
        case "arith.sub":
            return _of_two(i, size, target, (_ADD, _SUB))
        case "arith.inc":
            return _Ingredients((_DEC, _INC), size, target, None, wants_carry=True).recipe()
        case "arith.dec":
            return _Ingredients((_INC, _DEC), size, target, None, wants_carry=True).recipe()
        case "arith.neg":
            return _Ingredients((_NEG, _NEG), size, target, None).recipe()
        case meaning if meaning in _LOGIC:
            return _Ingredients((_TEST,), size, target, None).recipe()
        case "shift.shl" | "shift.shr" | "shift.sar" | "shift.shld" if count_of(i):
            due = late(i)
            if due is None or not due & (LATE_CARRIED_OF | LATE_NO_OF):  # SHR by 1: the result does not tell OF
                return None
            # SF, ZF and PF are the result's
            return _Ingredients((_DEC, _INC), size, target, None, wants_carry=True, due=due).recipe()
    return None


def _of_two(i: Essence, size: int, target: _Operand, operations: tuple[_Operation, ...]) -> Recipe | None:
    second = i.its_form.operands[1]
    if second.method is Method.IMMEDIATE:
        value = i.immediate & (1 << min(size, 32)) - 1
        tail = i32(value - ((value & 1 << 31) << 1)) if size >= 32 else value.to_bytes(size // 8, "little")
        operations = tuple(_Operation(*_WITH_IMMEDIATE[each], tail) for each in operations)
        return _Ingredients(operations, size, target, None).recipe()
    number = number_of(i, second)
    if number is None:
        return None
    if number != target.number:
        return _Ingredients(operations, size, target, _operand(number)).recipe()
    if operations == (_SUB, _ADD):  # CF was the highest bit
        return _Ingredients((_RCR, _ADD), size, target, None, wants_carry=True).recipe()
    return _Ingredients(operations[-1:], size, target, None).recipe()
