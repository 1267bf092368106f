"""The PM timer in native code: the clock of an operating system that trusts no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.native import native_code

if TYPE_CHECKING:
    from bt.devices.native_device import NativeDevice

TIMER_HZ, TIMER_BITS = 3_579_545, 24


@native_code
def read_timer(b: NativeDevice) -> None:
    """`PmRegisters.read` of the timer, in one piece."""
    b.ask_unless_size(4)
    b.answer(b.periods(b.now_ns(), TIMER_HZ) & (1 << TIMER_BITS) - 1)
