"""What those who make units ask of instructions time and again, wherever these lie: looked up once."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

from bt.engine.identity.long.decoded import Essence, LongDecoded
from bt.engine.identity.long.floating import fp_access_of, is_inline, needs, notes_pointers
from bt.engine.identity.long.integer import Access, access_of, is_one_of_ours
from bt.engine.identity.long.recipes import written
from bt.engine.identity.making.deadness import DIVISIONS, overwritten
from bt.x86.flags import ARITHMETIC
from bt.x86.opcodes import FORMS, Form, Method, Width

_RCX, _RSP, _RBP = 1, 4, 5
_WORD = 8
_OTHERS = ("stack.", "control.")  # with operands that are looked up
_MOVING = frozenset(
    ("arith.add", "arith.sub", "arith.inc", "arith.dec", "move.lea", "move.mov", "control.loop", "control.call",
     "control.call_indirect", "control.ret", "stack.push", "stack.pop", "stack.leave")
)  # fmt: skip


class OnStack(NamedTuple):
    """An access of 8 bytes that no operand shows."""

    base: int  # guest register
    displacement: int
    write: bool


class Facts(NamedTuple):
    """Of an Essence. Flags as EFLAGS bits, arithmetic ones only."""

    essence: Essence
    meaning: str
    is_control: bool
    is_stack: bool
    is_inline: bool  # FP, executed as itself or nothing
    is_ours: bool  # else, whether it can be encoded at all
    operand: Access | None  # in memory, if it is looked up
    on_stack: OnStack | None
    can_leave: bool  # it may not be done in the unit, or ends it
    always_can: bool  # whatever is in reach
    needs: int  # READY_* bits
    notes_pointers: bool  # it becomes the last x87 instruction
    reads: int
    changes: int
    kills: int  # of which nothing stays but what it reads
    gone: int  # certainly overwritten, and none read
    written: frozenset[int]  # guest registers, or more; but for those of the stack and of control
    moves: bool  # registers by what is known
    lost: tuple[int, ...]  # else, registers of which nothing is known behind it


_RELATIVE = frozenset(form.id for form in FORMS if form.operands and form.operands[0].method is Method.RELATIVE)


def facts_of(i: LongDecoded) -> Facts:
    """Where a branch leads is none of them."""
    immediate = 0 if i.form in _RELATIVE else i.immediate
    return _facts_of(i.form, i.variant, i.reg_number, i.rm_number, i.rex, immediate)


@lru_cache(1 << 14)
def _facts_of(*fields: int) -> Facts:
    i = Essence(*fields)
    form = i.its_form
    meaning = form.meaning
    is_stack, is_control = (meaning.startswith(prefix) for prefix in _OTHERS)
    always_can = is_control or meaning in DIVISIONS
    of_stack = (_RCX, _RSP, _RBP) if is_control or is_stack else ()
    return Facts(
        essence=i,
        meaning=meaning,
        is_control=is_control,
        is_stack=is_stack,
        is_inline=is_inline(form),
        is_ours=is_one_of_ours(form),
        operand=_operand(i) if i.is_memory else None,
        on_stack=_on_stack(meaning) if i.operand_size == 64 else None,
        can_leave=always_can or is_stack or (i.is_memory and meaning not in ("move.lea", "move.nop")),
        always_can=always_can,
        needs=needs(i) if is_inline(form) else 0,
        notes_pointers=notes_pointers(i),
        reads=form.reads_mask & ARITHMETIC,
        changes=form.changes_mask & ARITHMETIC,
        kills=form.kills_mask() & ARITHMETIC,
        gone=overwritten(i) or 0,
        written=written(i),
        moves=_moves(form, i.operand_size),
        lost=(*written(i), *of_stack),
    )


def _operand(i: Essence) -> Access | None:
    form = i.its_form
    if form.meaning == "move.lea":
        return None
    if is_inline(form):
        return fp_access_of(i.form, i.operand_size == 64)
    return access_of(i.form, i.variant) if is_one_of_ours(form) or form.meaning.startswith(_OTHERS) else None


@cache
def _on_stack(meaning: str) -> OnStack | None:
    """Of 64-bit operands."""
    match meaning:
        case "stack.push" | "control.call" | "control.call_indirect":
            return OnStack(_RSP, -_WORD, True)
        case "stack.pop" | "control.ret":
            return OnStack(_RSP, 0, False)
        case "stack.leave":
            return OnStack(_RBP, 0, False)
    return None


def _moves(form: Form, operand_size: int) -> bool:
    meaning = form.meaning
    if operand_size != 64 or meaning not in _MOVING:
        return False
    if meaning.startswith(("arith.", "move.")) and form.operands[0].width is Width.B:
        return False
    return meaning not in ("arith.add", "arith.sub") or form.operands[1].method is Method.IMMEDIATE
