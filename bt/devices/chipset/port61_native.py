"""Port 0x61 in native code: read in loops by firmware and kernels that wait or calibrate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.chipset.pit8254_native import PIT_HZ, out
from bt.devices.native import native_code
from bt.devices.shared import Shared, Word

if TYPE_CHECKING:
    from bt.devices.native_device import NativeDevice

REFRESH, OUT_2 = 1 << 4, 1 << 5
REFRESH_PERIOD_TICKS = 18  # of the 8254's clock: the AT refreshes a DRAM row every 15.085 us


class Port61Shared(Shared):
    """What was written, and where counter 2 has its block."""

    _control, _counter2_block = Word(), Word()


@native_code
def read_port(b: NativeDevice) -> None:
    """`Port61.read`."""
    b.ask_unless_size(1)
    ticks = b.periods(b.now_ns(), PIT_HZ)
    refresh = (ticks.udiv(REFRESH_PERIOD_TICKS) & 1) * REFRESH
    out2 = b.select(out(b, b.other_block(Port61Shared._counter2_block), ticks), b.const(OUT_2, 64), 0)
    b.answer(b.word(Port61Shared._control) | refresh | out2)
