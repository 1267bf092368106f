"""What memory operands become in units: two ways into a view.

*Wrapping*: GS, and 32-bit addresses, which wrap as the guest's do. That is always right, but on Intel's processors a
base of GS other than 0 takes two cycles more for each load, and half of the rate of stores.

*Near*: one register of the guest's and a displacement, from the view's base in a host register on. What would have
wrapped comes to lie in the guards around the view instead, traps, and is made anew in the wrapping form.
"""

from __future__ import annotations

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import memory_operand
from bt.engine.identity.crossing import VIEW_BASE
from bt.memory.host_mmu.layout import GUARD_BYTES
from bt.x86.state import EBP, ESP

VIEW = b"\x65\x67"
"""Prefixes of the wrapping form."""
# An operand with an index is none whose value the processor remembers from the store before (two cycles instead of
# five, or none at all), as it does for locals and what is pushed.
_STACK = frozenset((FLAT_32.guest_numbers[ESP], FLAT_32.guest_numbers[EBP]))
_LEAST_DISPLACEMENT = -(GUARD_BYTES >> 1)


def wrapping(reg: int, base: int | None, index: int | None, scale: int, displacement: int) -> tuple[bytes, bytes, int]:
    """The OperandForm that is always right."""
    return VIEW, *memory_operand(reg, base, index, scale, displacement)


def near(reg: int, base: int | None, index: int | None, scale: int, displacement: int) -> tuple[bytes, bytes, int]:
    """The OperandForm for all but addresses that wrap; they trap."""
    if displacement < _LEAST_DISPLACEMENT or base in _STACK or (base is not None and index is not None):
        return wrapping(reg, base, index, scale, displacement)
    if base is not None:
        index, scale = base, 0
    return b"", *memory_operand(reg, VIEW_BASE, index, scale, displacement)
