"""Loading EFLAGS from an image: what IRET and POPF may change at which level (SDM vol. 2, IRET and POPF)."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import Context
from bt.x86.system.segmentation.segment_load import current_privilege_level

# Always, with CPL <= IOPL, with CPL 0. 16-bit forms are limited to the low word.
LOADED_ALWAYS = flags.ARITHMETIC | flags.TF | flags.DF | flags.NT | flags.AC | flags.ID
LOADED_WITH_IOPL = flags.IF
LOADED_AT_CPL_0 = flags.IOPL
LOADED_BY_IRET_AT_CPL_0 = flags.VIF | flags.VIP


def has_iopl(b: Context) -> Value:
    """CPL <= IOPL, i1. In virtual-8086 mode: IOPL is 3."""
    iopl = (b.get("eflags_system", width=32) & flags.IOPL) >> flags.IOPL_SHIFT
    return current_privilege_level(b).ule(iopl)


def loadable_flags(b: Context, width: Value) -> Value:
    """EFLAGS bits that an image of `width` bits (i32) may change at the current CPL and IOPL, i32."""
    mask = b.select(has_iopl(b), b.const(LOADED_ALWAYS | LOADED_WITH_IOPL, 32), LOADED_ALWAYS)
    mask = mask | b.select(current_privilege_level(b) == 0, b.const(LOADED_AT_CPL_0, 32), 0)
    return mask & b.select(width == 32, b.const(-1, 32), 0xFFFF)


def load_flags(b: Context, image: Value, mask: Value) -> None:
    """Load the bits of `mask` (i32) from an EFLAGS image; all six arithmetic flags are among them."""
    flags.write_arithmetic(b, image)
    system = mask & ~flags.ARITHMETIC
    b.put("eflags_system", (b.get("eflags_system", width=32) & ~system) | (image & system))
