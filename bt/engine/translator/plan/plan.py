"""What a plan is: how an instruction form is put together from stencils.

First its address or source operand into T, then one stencil picked by the register numbers (and, for shifts, the
count), then what follows a transfer. Forms without a plan are done by the interpreter, one instruction at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from bt.engine.interp.variants import Variant
from bt.engine.translator.stencils.recording import Access, Effects
from bt.x86 import flags
from bt.x86.context import DE
from bt.x86.state import EBP, EDI, ESI, ESP


class Pre(IntEnum):
    """What comes before the stencil itself."""

    NONE = 0
    ADDRESS = 1  # T = linear address of the memory operand
    GET_REG = 2  # T = register ModRM.reg
    GET_RM = 3  # T = register ModRM.rm
    LOAD = 4  # T = the memory operand itself (of an indirect transfer or PUSH)


class Linear(IntEnum):
    """Which linear address a stencil's memory access has, for its slow path."""

    NONE = 0
    T = 1
    PUSH = 2  # ESP - size
    POP = 3  # ESP
    FRAME = 4  # EBP (LEAVE)
    SOURCE = 5  # ESI, in a flat segment that may be overridden
    DESTINATION = 6  # EDI, in a flat ES


def linear_of(access: Access) -> Linear:
    """The address of an access. KeyError if the slow path has no word for it."""
    return {
        (None, 0): Linear.T,
        (ESP, -access.size): Linear.PUSH,
        (ESP, 0): Linear.POP,
        (EBP, 0): Linear.FRAME,
        (ESI, 0): Linear.SOURCE,
        (EDI, 0): Linear.DESTINATION,
    }[access.register, access.displacement]


class Ending(IntEnum):
    """What follows the stencil of a block's last instruction."""

    NEXT = 0  # the next instruction, or the fall-through exit
    JUMP = 1  # a direct exit to the target
    INDIRECT = 2  # nothing: the stencil itself goes through the branch cache


class Gate(IntEnum):
    """Who does what stencils do not do: all of an instruction, or what one of them leaves at."""

    SERVICE = 0  # the interpreter, which can do everything
    DIVIDE_ERROR = 1  # #DE, delivered at once
    INT = 2  # these instructions where all is as usual, or else the interpreter (gates/system_instructions.py)
    IRET = 3
    SYSENTER = 4
    SYSEXIT = 5
    LOAD_CR3 = 6
    INVLPG = 7


def gate_of(effects: Effects) -> Gate:
    """Where a stencil with these effects leaves to when it does not do its instruction."""
    return Gate.DIVIDE_ERROR if effects.faults == {DE} else Gate.SERVICE


def ending_of(effects: Effects) -> Ending:
    if effects.goes_on:
        return Ending.NEXT
    return Ending.JUMP if effects.direct else Ending.INDIRECT


@dataclass(frozen=True)
class Plan:
    """How one variant of a form is translated; `live` etc. are stencil names in index order (rm, reg, count)."""

    variant: Variant
    effects: Effects  # of the instruction as a whole
    live: tuple[str, ...]
    dead: tuple[str, ...] = ()  # without the flags; empty when the form has none
    fused: tuple[str, ...] = ()  # with each Jcc that may follow: 16 a stencil
    absolute: tuple[str, ...] = ()  # all these again, for a memory operand without registers in its address
    stride_rm: int = 0
    stride_reg: int = 0
    stride_count: int = 0
    stride_address: int = 0  # to the stencil for 16-bit addresses
    pre: Pre = Pre.NONE
    linear: Linear = Linear.NONE
    size: int = 0  # bytes of the memory access
    write: bool = False

    @property
    def ending(self) -> Ending:
        return ending_of(self.effects)

    @property
    def gate(self) -> Gate:
        return gate_of(self.effects)

    @property
    def calls(self) -> bool:
        """Whether its return is to be predicted first."""
        return self.effects.calls

    @property
    def is_conditional_jump(self) -> bool:
        """A Jcc: it may share the stencil of the comparison before it."""
        return self.variant.form.condition is not None and self.effects.jumps

    @property
    def reads_flags(self) -> bool:
        return bool(self.variant.form.reads_mask & flags.ARITHMETIC)

    @property
    def changes_flags(self) -> bool:
        return bool(self.variant.form.changes_mask & flags.ARITHMETIC)

    @property
    def kills_flags(self) -> bool:
        """Whether no arithmetic flag is left of what was before.

        The manual calls flags undefined that host processors, and so the meaning, leave alone (MUL, DIV; tests/cases):
        nothing before such an instruction may be dropped.
        """
        keeps = self.effects.reads_flags and not self.reads_flags
        return self.variant.form.kills_mask() & flags.ARITHMETIC == flags.ARITHMETIC and not keeps

    @property
    def kills_flags_by_count(self) -> bool:
        """Whether a known count other than 0 makes it one that kills all flags (SHL SHR SAR; not the rotates)."""
        form = self.variant.form
        return bool(self.stride_count) and form.changes_mask & flags.ARITHMETIC == flags.ARITHMETIC
