"""What the translator did, for `bt explain` and BT_DEBUG: a diary kept by the emitter while CONTROL.trace_next is set.

An entry is a TRACE; behind TRACE_BEGIN come the guest bytes of the block, because by the time somebody reads the diary
the guest may have changed them. Off, it costs one load and one branch that is never taken per emitted stencil.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.engine.structures import BLOCK, CONTROL, TRACE, TRACE_BEGIN, TRACE_BLOCK_ROOM
from bt.memory.access import NativeContext
from bt.memory.physical import PhysicalPage


def note(b: NativeContext, control: Value, kind: int, subject: Value, hot: Value, cold: Value | int = 0) -> None:
    """Append an entry if somebody asked for a diary. `hot`, `cold`: host addresses where code goes next."""
    entry = CONTROL.get(b, control, "trace_next")
    with b.Unlikely(entry != 0):
        _append(b, control, entry, kind, subject, hot, cold)


def begin(b: NativeContext, control: Value, block: Value, hot: Value, cold: Value) -> None:
    """Open the entries of a block, its guest bytes included; where they might not fit, close the diary."""
    entry = CONTROL.get(b, control, "trace_next")
    with b.Unlikely(entry != 0):
        with b.If((entry + TRACE_BLOCK_ROOM).ugt(CONTROL.get(b, control, "trace_end"))):
            CONTROL.put(b, control, "trace_end", entry)
            CONTROL.put(b, control, "trace_next", 0)
        with b.If(CONTROL.get(b, control, "trace_next") != 0):
            _append(b, control, entry, TRACE_BEGIN, block.zext(64), hot, cold)
            _copy_guest_code(b, control, block)


def _append(
    b: NativeContext, control: Value, entry: Value, kind: int, subject: Value, hot: Value, cold: Value | int
) -> None:
    where = entry.to_pointer()
    for name, value in (("kind", kind), ("subject", subject), ("hot", hot), ("cold", cold)):
        TRACE.put(b, where, name, value)
    CONTROL.put(b, control, "trace_next", entry + TRACE.size)


def _copy_guest_code(b: NativeContext, control: Value, block: Value) -> None:
    """The bytes of the block, in as many entries as it takes. A block that is translated lies in one page of memory."""
    target = CONTROL.get_pointer(b, control, "trace_next")
    source = PhysicalPage(b, BLOCK.get(b, block, "physical")).host.to_pointer()
    size = BLOCK.get(b, block, "bytes").zext(64)
    index = b.local(64, 0)
    with b.Loop() as loop:
        i = index.get()
        loop.break_if(i.uge(size))
        b.store(target + i, b.load(source + i, 8))
        index.set(i + 1)
    entries = (size + (TRACE.size - 1)) & -TRACE.size
    CONTROL.put(b, control, "trace_next", target.zext(64) + entries)
