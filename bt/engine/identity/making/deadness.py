"""Where arithmetic flags are *strictly dead*: all six overwritten before anything reads them, can fault or leaves.

There a unit may use EFLAGS for itself. Liveness in the usual sense is not enough: a fault pushes all flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

from bt.x86 import flags
from bt.x86.flags import AF, CF, OF, PF, SF, ZF
from bt.x86.opcodes import FORMS, Method


class Instruction(Protocol):
    """What of a decoded record matters here."""

    @property
    def form(self) -> int: ...
    @property
    def immediate(self) -> int: ...


MULTIPLICATIONS = frozenset(("arith.mul", "arith.imul", "arith.imul_truncated"))
DIVISIONS = frozenset(("arith.div", "arith.idiv"))
# Undefined flags that are what they were before, by meaning.
KEPT = {
    **dict.fromkeys(MULTIPLICATIONS, SF | ZF | AF | PF),
    **dict.fromkeys(DIVISIONS, CF | OF),
    **dict.fromkeys(("bits.bt", "bits.bts", "bits.btr", "bits.btc"), OF | SF | ZF | AF | PF),
}

# What shifts and rotates overwrite if their count is given and not zero. (Through the carry a count of 9 or 17 may be
# none at all.)
_BY_COUNT = {
    **dict.fromkeys(("shift.shl", "shift.shr", "shift.sar"), flags.ARITHMETIC),
    **dict.fromkeys(("shift.rol", "shift.ror"), CF | OF),
}


@cache
def _effects(form: int) -> tuple[int, int, int]:
    """Flags read, flags certainly overwritten, and those overwritten if the immediate is a count other than zero."""
    each = FORMS[form]
    by_count = 0
    if each.meaning in _BY_COUNT and any(operand.method is Method.IMMEDIATE for operand in each.operands):
        by_count = _BY_COUNT[each.meaning]
    kills = each.kills_mask() & flags.ARITHMETIC & ~KEPT.get(each.meaning, 0)
    return each.reads_mask & flags.ARITHMETIC, kills, by_count


def reads_and_overwrites(i: Instruction) -> tuple[int, int]:
    """The arithmetic flags that an instruction reads, and those that it overwrites whatever they were; EFLAGS bits."""
    reads, kills, by_count = _effects(i.form)
    return reads, kills | (by_count if i.immediate & 31 else 0)


def overwritten(i: Instruction) -> int | None:
    """The arithmetic flags that an instruction overwrites, as EFLAGS bits; None if it reads any."""
    reads, gone = reads_and_overwrites(i)
    return None if reads else gone


def strictly_dead(code: Sequence[tuple[Instruction, bool]], most: int, wanted: int = flags.ARITHMETIC) -> bool:
    """Whether they (or those of them that are `wanted`) are where `code` begins, found out in `most` of it:
    instructions, and whether each can leave."""
    left = wanted
    for i, can_leave in code[:most]:
        reads, gone = reads_and_overwrites(i)
        if can_leave or reads & left:
            return False
        left &= ~gone
        if not left:
            return True
    return False
