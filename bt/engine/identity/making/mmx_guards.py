"""MMX instructions with a memory operand in units: what is accessed is tried before.

Even if they fault, Intel's processors have the top of the x87 stack at 0 and all its registers valid afterwards, which
those that do not fault have on all processors (SDM vol. 1 9.5.1). So the first of them on a trace is guarded: its
operand is loaded into a general register, and if it is to be written, stored from there. Those that follow find the x87
stack as they would leave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from bt.engine.identity.making.offsets import MOV_LOAD, MOV_STORE, MOVZX_WORD, Parts, T
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.integer import IntegerEncoder
from bt.x86.opcodes import FORMS, Method
from bt.x86.opcodes.fp import UNIT_MMX, UNIT_X87, fp_use, is_fp

if TYPE_CHECKING:
    from bt.engine.identity.making.steps import Placed

_REGISTERS = frozenset((Method.MMX_REGISTER, Method.MMX_OR_MEMORY, Method.MMX_RM))


def guards_of(encoder: IntegerEncoder, i: Decoded) -> Parts:
    """What tries the memory operand of an instruction, if it is an MMX instruction with one. Destroys T; no flag
    changes. Raises NotEncodable."""
    if not i.is_memory or not _uses_mmx(i.form, True):
        return ()
    use = fp_use(FORMS[i.form], memory=True)
    parts = ((_access(encoder, MOVZX_WORD if use.memory == 2 else MOV_LOAD, i, use.memory), True),)
    return (*parts, (_access(encoder, MOV_STORE, i, use.memory), True)) if use.store else parts


def _access(encoder: IntegerEncoder, opcode: bytes, i: Decoded, size: int) -> bytes:
    prefixes, rex, address = encoder.operand(T, i)
    wide = bytes(((rex or b"\x40")[0] | 8,)) if size == 8 else rex
    return prefixes + wide + opcode + address


def without_needless_guards(steps: Sequence[Placed]) -> list[Placed]:
    """The same trace, with guards only where it is not known how the x87 stack is."""
    if not any(placed.step.guards for placed in steps):
        return list(steps)
    found: list[Placed] = []
    is_as_mmx_leaves_it = False
    for placed in steps:
        step = placed.step
        if step.guards and is_as_mmx_leaves_it:
            placed = placed._replace(step=step._replace(parts=step.parts[step.guards :], guards=0))
        if step.service or _uses_x87(step.i.form):
            is_as_mmx_leaves_it = False
        elif _uses_mmx(step.i.form, step.i.is_memory):
            is_as_mmx_leaves_it = True
        found.append(placed)
    return found


@cache
def _uses_mmx(number: int, is_memory: bool) -> bool:
    """Whether a form has an MMX register."""
    form = FORMS[number]
    has_register = any(operand.method in _REGISTERS for operand in form.operands)
    return has_register and is_fp(form) and bool(fp_use(form, is_memory).units & UNIT_MMX)


@cache
def _uses_x87(number: int) -> bool:
    """Whether a form may leave the x87 stack otherwise; EMMS is one of them."""
    form = FORMS[number]
    if not is_fp(form):
        return form.meaning.startswith("x87.")
    return bool(fp_use(form, memory=False).units & (UNIT_X87 | UNIT_MMX)) and not _uses_mmx(number, False)
