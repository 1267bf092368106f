"""Port 0x61, system control port B: counter 2's gate, the speaker, and two signals kernels calibrate against."""

from bt.clock.virtual_clock import (
    Oscillator,
    VirtualClock,
)
from bt.devices.chipset.pit8254 import Pit8254
from bt.devices.chipset.pit8254_native import PIT_HZ
from bt.devices.chipset.port61_native import OUT_2, REFRESH, REFRESH_PERIOD_TICKS, Port61Shared, read_port
from bt.devices.device import Device
from bt.memory.native_registers import NativeRegister

GATE_2 = 1 << 0
SPEAKER_DATA = 1 << 1
PARITY_AND_CHANNEL_CHECK_OFF = 0b1100


class Port61(Port61Shared, Device):
    """IBM PC/AT Technical Reference, system board "port B" (0x61); bits 6 and 7, NMI causes, never come up.

    Drives the gate of counter 2 of `pit` and reads its output.
    """

    fields = ("_control",)

    def __init__(self, clock: VirtualClock, pit: Pit8254, name: str = "port 61") -> None:
        super().__init__(name)
        self._pit_clock = Oscillator(clock, PIT_HZ)
        self._gate2 = pit.gate2
        self._counter2 = pit.counter2
        self._counter2_block = pit.counter2.block
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
        if self._counter2.out:
            value |= OUT_2
        return value

    def native_registers(self) -> dict[int, NativeRegister]:
        return {0: NativeRegister(self.block, read=read_port)}

    def write(self, offset: int, size: int, value: int) -> None:
        self._control = value & (GATE_2 | SPEAKER_DATA | PARITY_AND_CHANNEL_CHECK_OFF)
        self._gate2.set(bool(value & GATE_2))

    def reset(self) -> None:
        self.write(0, 1, 0)

    def restore(self, state: dict[str, int]) -> None:
        super().restore(state)
        self._gate2.set(bool(self._control & GATE_2))
