"""Which EFLAGS bits a case leaves undefined, by the opcode table: those are not compared."""

from __future__ import annotations

from bt.x86.opcodes import Form, Method, eflags_mask
from tests.cases.instruction import form_of, instructions, operand_bits
from tests.cases.model import Case

COUNTED = frozenset({"rol", "ror", "rcl", "rcr", "shl", "shr", "sar", "shld", "shrd"})
"""Instructions whose count decides what they define."""


def undefined_flags(case: Case) -> int:
    """EFLAGS bits undefined after the case's instructions, run in order of address.

    Where the case is a single shift or rotate its count is known, and OF is defined for one bit, everything for none.
    """
    codes = list(instructions(case))
    if len(codes) == 1:
        return _undefined_by_one(case, codes[0])
    undefined = 0
    for code in codes:
        form = form_of(code, case.bits)
        if not form.may_keep_flags and not form.rep:
            undefined &= ~eflags_mask(form.writes)
        undefined |= eflags_mask(form.undefines)
    return undefined


def _undefined_by_one(case: Case, code: bytes) -> int:
    form = form_of(code, case.bits)
    if form.name not in COUNTED:
        return eflags_mask(form.undefines)
    if form.operands[-1].method is Method.IMMEDIATE:
        count = code[-1]
    elif form.operands[-1].method is Method.ONE:
        count = 1
    else:
        count = case.start.registers[1]
    return undefined_by_count(form, operand_bits(case.bits, code, form), count)


def undefined_by_count(form: Form, width: int, count: int) -> int:
    """EFLAGS bits undefined after a shift or rotate of a `width`-bit operand; five bits of `count` are used, or six."""
    count &= 63 if width == 64 else 31
    if count == 0:
        return 0
    undefined = eflags_mask(form.undefines)
    if count == 1:
        undefined &= ~eflags_mask("o")
    if form.name in ("shl", "shr") and count >= width:
        undefined |= eflags_mask("c")
    return undefined
