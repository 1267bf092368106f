"""Port 0x61, system control port B: counter 2's gate, the speaker, and two signals kernels calibrate against."""

from collections.abc import Callable

from bt.clock.virtual_clock import (
    Oscillator,
    VirtualClock,
)
from bt.devices.chipset.pit8254 import PIT_HZ
from bt.devices.device import Device, Line

GATE_2 = 1 << 0
SPEAKER_DATA = 1 << 1
PARITY_AND_CHANNEL_CHECK_OFF = 0b1100
REFRESH = 1 << 4
OUT_2 = 1 << 5

REFRESH_PERIOD_TICKS = 18  # of the 8254's clock: the AT refreshes a DRAM row every 15.085 us


class Port61(Device):
    """IBM PC/AT Technical Reference, system board "port B" (0x61); bits 6 and 7, NMI causes, never come up.

    `gate2` drives the gate of the 8254's counter 2 and `out2()` reads its output.
    """

    fields = ("_control",)

    def __init__(self, clock: VirtualClock, gate2: Line, out2: Callable[[], bool], name: str = "port 61") -> None:
        super().__init__(name)
        self._pit_clock = Oscillator(clock, PIT_HZ)
        self._gate2 = gate2
        self._out2 = out2
        self._control = 0

    @property
    def speaker_on(self) -> bool:
        """Whether counter 2's output reaches the speaker."""
        return bool(self._control & SPEAKER_DATA)

    def read(self, offset: int, size: int) -> int:
        value = self._control
        # toggles with every refresh: firmware counts the changes to wait in units of 15 us
        if self._pit_clock.ticks // REFRESH_PERIOD_TICKS & 1:
            value |= REFRESH
        if self._out2():
            value |= OUT_2
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        self._control = value & (GATE_2 | SPEAKER_DATA | PARITY_AND_CHANNEL_CHECK_OFF)
        self._gate2.set(bool(value & GATE_2))

    def reset(self) -> None:
        self.write(0, 1, 0)

    def restore(self, state: dict[str, int]) -> None:
        super().restore(state)
        self._gate2.set(bool(self._control & GATE_2))
