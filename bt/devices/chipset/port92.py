"""System control port A (port 0x92) of the PS/2: the fast ways to gate A20 and to reset the processor."""

from collections.abc import Callable

from bt.devices.device import Device

FAST_RESET = 1 << 0
A20_ENABLE = 1 << 1
STORED = 0b1101_1010  # A20, security lock, watchdog, activity lights; the rest reads as zero


class Port92(Device):
    """IBM PS/2 Hardware Interface Technical Reference, "System Control Port A".

    `set_a20(enabled)` is called at each write of bit 1 and `reset_cpu()` when bit 0 goes from 0 to 1. The A20 gate of
    the board has a second driver, the keyboard controller: combining them is left to the board.
    """

    fields = ("_value",)

    def __init__(self, set_a20: Callable[[bool], None], reset_cpu: Callable[[], None], name: str = "port 92") -> None:
        super().__init__(name)
        self._set_a20 = set_a20
        self._reset_cpu = reset_cpu
        self._value = 0

    def read(self, offset: int, size: int) -> int:
        return self._value

    def write(self, offset: int, size: int, value: int) -> None:
        rising = value & ~self._value
        # bit 0 stays readable until the reset it causes clears it
        self._value = value & (STORED | FAST_RESET)
        self._set_a20(bool(value & A20_ENABLE))
        if rising & FAST_RESET:
            self._reset_cpu()

    def reset(self) -> None:
        self._value = 0
