"""Ports F0h and F1h of the AT: how a PC's x87 exceptions reach software by interrupt 13 when CR0.NE is clear."""

from collections.abc import Callable
from typing import Any

from bt.devices.device import Device, Line

FIRST_PORT, LENGTH = 0xF0, 2


class FpuError(Device):
    """IBM PC AT Technical Reference, "80287"; SDM vol. 1 appendix D.2.

    FERR# sets the latch that drives `irq13`. A write clears it and asserts IGNNE#, so that the handler may execute x87
    instructions (`ignore()` is called); the processor takes that back when no exception is pending any more. Port F1h
    resets an 80287; since the 486 it does the same as F0h.
    """

    fields = ("_latched",)

    def __init__(self, irq13: Line, ignore: Callable[[], None], name: str = "FPU error") -> None:
        super().__init__(name)
        self._irq13 = irq13
        self._ignore = ignore
        self._latched = False

    def raise_error(self) -> None:
        """FERR# of the processor goes active."""
        self._latch(True)

    def read(self, offset: int, size: int) -> int:
        return 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        if self._latched:
            self._ignore()
        self._latch(False)

    def reset(self) -> None:
        self._latch(False)

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._latch(self._latched)

    def _latch(self, level: bool) -> None:
        self._latched = level
        self._irq13.set(level)
