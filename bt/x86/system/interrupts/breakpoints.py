"""Breakpoints in the debug registers (SDM vol. 3B 18.2, 18.3): what matches, in bits of DR6.

While DR7 enables any, code is interpreted one instruction at a time with no TLB for its data (bt/x86/mode.py): before
each instruction `before_next` asks about its address, and every access, the processor's own to descriptors and frames
included, comes by the slow path, which notes what it hits in `debug_hits` for the trap after the instruction or event.
While DR7 enables none, nothing of this costs anything.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import Context
from bt.x86.services import WATCH_ACCESS, WATCH_PORT, WATCH_READ, WATCH_WRITE
from bt.x86.system.operating_mode import instruction_linear, is_long_mode
from bt.x86.system.registers.control_registers import CR4_DE

# DR6 bits of the breakpoints on the instruction at state's EIP.
INSTRUCTION_BREAKPOINTS = native("instruction_breakpoints", PTR)

# DR6 bits B0 to B3: the breakpoints of the newest debug exception
DR6_BREAKPOINTS = 15
# R/W field of DR7; the others are WATCH_*
EXECUTED = 0


def report_debug_exception(b: Context, reasons: Value | int) -> None:
    """A debug exception's bits of DR6 (i64): B0-B3 are what this one hit, all others stay until software clears them.

    (SDM vol. 3B 18.2.3: "certain debug exceptions may clear bits 0-3", the remaining ones "are never cleared by the
    processor".)
    """
    b.put("dr", (b.get("dr", 6) & ~DR6_BREAKPOINTS) | reasons, 6)


def _field(dr7: Value, number: int, shift: int) -> Value:
    """R/W (shift 16) or LEN (shift 18) of a breakpoint, i32."""
    return (dr7 >> (shift + 4 * number)) & 3


def _is_enabled(dr7: Value, number: int) -> Value:
    return (dr7 & (3 << (2 * number))) != 0


def _instruction_breakpoints(b: Context) -> None:
    """LEN is not looked at: for instructions it must be 0."""
    linear = instruction_linear(b)
    dr7 = b.get("dr", 7, width=32)
    hits = b.const(0, 32)
    for number in range(4):
        hit = _is_enabled(dr7, number) & (_field(dr7, number, 16) == EXECUTED)
        hit = hit & (b.get("dr", number) == linear)
        hits = hits | (hit.zext(32) << number)
    b.ret(hits)


def _watch_access(b: Context) -> None:
    """WATCH_ACCESS. A breakpoint watches 1, 2 or 4 bytes (LEN 0, 1, 3; 2 means 8) from an address that is a multiple.

    R/W 2 watches ports, but is undefined without CR4.DE: then it watches nothing.
    """
    _, address, size, kind = b.arguments
    dr7 = b.get("dr", 7, width=32)
    ports_watched = (b.get("cr4", width=32) & CR4_DE) != 0
    hits = b.const(0, 32)
    mask = b.select(is_long_mode(b), b.const(-1, 64), 0xFFFF_FFFF)  # linear addresses wrap there
    for number in range(4):
        wanted, length_code = _field(dr7, number, 16), _field(dr7, number, 18)
        length = b.select(length_code == 2, b.const(8, 32), length_code + 1).zext(64)
        first = b.get("dr", number) & -length
        overlaps = ((address - first) & mask).ult(length) | ((first - address) & mask).ult(size.zext(64))
        on_port = (kind == WATCH_PORT) & (wanted == WATCH_PORT) & ports_watched
        on_write = (kind == WATCH_WRITE) & (wanted == WATCH_WRITE)
        on_any = (kind != WATCH_PORT) & (wanted == WATCH_READ)
        hit = _is_enabled(dr7, number) & overlaps & (on_port | on_write | on_any)
        hits = hits | (hit.zext(32) << number)
    b.put("debug_hits", b.get("debug_hits", width=32) | hits)


RUNTIME = ((INSTRUCTION_BREAKPOINTS, _instruction_breakpoints), (WATCH_ACCESS, _watch_access))
