"""Bases of FS and GS in 64-bit mode: SWAPGS (SDM vol. 2)."""

from __future__ import annotations

from bt.x86.context import Context
from bt.x86.state import GS
from bt.x86.system.segmentation.descriptor import require_cpl_0


def swapgs(b: Context) -> None:
    """SWAPGS: exchange the base of GS with IA32_KERNEL_GS_BASE."""
    require_cpl_0(b)
    old = b.get_segment(GS, "base")
    b.put_segment(GS, "base", b.get("kernel_gs_base"))
    b.put("kernel_gs_base", old)
