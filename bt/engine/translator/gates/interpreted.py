"""What the interpreter does in translated code's place: in which modes, and how much of it at once."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.memory.access import NativeContext
from bt.x86 import mode
from bt.x86.system.operating_mode import in_64_bit_mode

TRANSLATABLE = mode.ALIGNMENT_FREE | mode.BREAKPOINT_FREE
INTERPRET_CHUNK = 2048  # instructions interpreted before looking again, in other modes
LONG_CHUNK = 16384  # of 64-bit code, whose units run in the interpreter's place


def is_translatable(b: NativeContext) -> Value:
    """Whether code of the present mode is translated, and not interpreted; i1."""
    return (b.get("mode") & (TRANSLATABLE | mode.CODE_64)) == TRANSLATABLE


def stretch(b: NativeContext) -> Value:
    """How many instructions are interpreted before the mode is looked at again, i64."""
    return b.select(in_64_bit_mode(b), b.const(LONG_CHUNK, 64), INTERPRET_CHUNK)
