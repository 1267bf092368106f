"""Bases of FS and GS in 64-bit mode: SWAPGS, and RDFSBASE and its like (SDM vol. 2)."""

from __future__ import annotations

from bt.x86.context import GP, UD, Context, Operand
from bt.x86.state import FS, GS
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.registers.control_registers import CR4_FSGSBASE
from bt.x86.system.segmentation.descriptor import require_cpl_0


def swapgs(b: Context) -> None:
    """SWAPGS: exchange the base of GS with IA32_KERNEL_GS_BASE."""
    require_cpl_0(b)
    old = b.get_segment(GS, "base")
    b.put_segment(GS, "base", b.get("kernel_gs_base"))
    b.put("kernel_gs_base", old)


def _require_enabled(b: Context) -> None:
    b.fault_if((b.get("cr4", width=32) & CR4_FSGSBASE) == 0, UD)


def _read(b: Context, segment: int, dst: Operand) -> None:
    _require_enabled(b)
    dst.write(b.get_segment(segment, "base", width=dst.width))


def _write(b: Context, segment: int, src: Operand) -> None:
    """A 32-bit register is zero-extended."""
    _require_enabled(b)
    base = src.read().zext(64)
    b.fault_if(~is_canonical(base), GP, 0)
    b.put_segment(segment, "base", base)


def rdfsbase(b: Context, dst: Operand) -> None:
    _read(b, FS, dst)


def rdgsbase(b: Context, dst: Operand) -> None:
    _read(b, GS, dst)


def wrfsbase(b: Context, src: Operand) -> None:
    _write(b, FS, src)


def wrgsbase(b: Context, src: Operand) -> None:
    _write(b, GS, src)
