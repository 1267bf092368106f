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


# Undefined flags that are what they were before, by meaning.
KEPT = {
    **dict.fromkeys(("arith.mul", "arith.imul", "arith.imul_truncated"), SF | ZF | AF | PF),
    **dict.fromkeys(("arith.div", "arith.idiv"), CF | OF),
    **dict.fromkeys(("bits.bt", "bits.bts", "bits.btr", "bits.btc"), OF | SF | ZF | AF | PF),
}

# Shifts whose count, if it is given and not zero, leaves no flag as it was. (Rotates leave four; through the carry a
# count of 9 or 17 may be none at all.)
_SHIFTS = frozenset(("shift.shl", "shift.shr", "shift.sar"))


@cache
def _effects(form: int) -> tuple[int, int, int]:
    """Flags read, flags certainly overwritten, and those overwritten if the immediate is a count other than zero."""
    each = FORMS[form]
    by_count = 0
    if each.meaning in _SHIFTS and any(operand.method is Method.IMMEDIATE for operand in each.operands):
        by_count = each.changes_mask & flags.ARITHMETIC
    kills = each.kills_mask() & flags.ARITHMETIC & ~KEPT.get(each.meaning, 0)
    return each.reads_mask & flags.ARITHMETIC, kills, by_count


def overwritten(i: Instruction) -> int | None:
    """The arithmetic flags that an instruction overwrites, as EFLAGS bits; None if it reads any."""
    reads, kills, by_count = _effects(i.form)
    if reads:
        return None
    return kills | (by_count if i.immediate & 31 else 0)


def strictly_dead(code: Sequence[tuple[Instruction, bool]], most: int) -> bool:
    """Whether they are where `code` begins, found out in `most` of it: instructions, and whether each can leave."""
    left = flags.ARITHMETIC
    for i, can_leave in code[:most]:
        if can_leave:
            return False
        gone = overwritten(i)
        if gone is None:
            return False
        left &= ~gone
        if not left:
            return True
    return False
