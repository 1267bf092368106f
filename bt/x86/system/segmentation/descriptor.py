"""Instructions on the descriptor-table registers and the task register (SDM vol. 2, vol. 3A 2.4)."""

from __future__ import annotations

from bt.x86.context import GP, Context, MemoryOperand, Operand
from bt.x86.state import LDTR, TR
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.segmentation.segment_load import (
    LOAD_LDTR,
    LOAD_TR,
    current_privilege_level,
)


def require_cpl_0(b: Context) -> None:
    """#GP(0) for a privileged instruction outside level 0."""
    b.fault_if(current_privilege_level(b) != 0, GP, 0)


def _store_table(b: Context, dst: MemoryOperand, table: str) -> None:
    """All bits of the base whatever the operand size: the manual's 24 bits are those of the 286.

    The base goes first, so that the higher address faults before anything is written.
    """
    dst.write_at(2, b.get(f"{table}_base", width=64 if b.long else 32))
    dst.write_at(0, b.get(f"{table}_limit", width=16))


def _load_table(b: Context, src: MemoryOperand, table: str) -> None:
    require_cpl_0(b)
    limit, base = src.read_at(0, 16), src.read_at(2, 64 if b.long else 32)
    if b.long:
        b.fault_if(~is_canonical(base), GP, 0)
    elif b.operand_size == 16:
        base = base & 0x00FF_FFFF
    b.put(f"{table}_limit", limit)
    b.put(f"{table}_base", base)


def sgdt(b: Context, dst: MemoryOperand) -> None:
    _store_table(b, dst, "gdtr")


def sidt(b: Context, dst: MemoryOperand) -> None:
    _store_table(b, dst, "idtr")


def lgdt(b: Context, src: MemoryOperand) -> None:
    _load_table(b, src, "gdtr")


def lidt(b: Context, src: MemoryOperand) -> None:
    _load_table(b, src, "idtr")


def sldt(b: Context, dst: Operand) -> None:
    dst.write(b.get_segment(LDTR, "selector", width=16).zext(dst.width))


def str_(b: Context, dst: Operand) -> None:
    dst.write(b.get_segment(TR, "selector", width=16).zext(dst.width))


def lldt(b: Context, src: Operand) -> None:
    require_cpl_0(b)
    b.attempt(LOAD_LDTR, b.cpu, src.read().zext(32))


def ltr(b: Context, src: Operand) -> None:
    require_cpl_0(b)
    b.attempt(LOAD_TR, b.cpu, src.read().zext(32))
