"""A VGA with linear modes: its registers, the display interface and memory behind one buffer."""

from collections.abc import Callable

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Device
from bt.devices.display.dispi import Dispi
from bt.devices.display.memory import VgaMemory, Window
from bt.devices.display.mmio import VgaMmio
from bt.devices.display.registers import VgaRegisters

MEMORY_BYTES = 16 << 20


class Vga:
    """Devices for the board: `registers` and `dispi` at ports, `memory` at A0000h, restored in this order.

    On PCI (bt/devices/display/vga_pci.py) `mmio` besides, which has no state of its own.
    """

    def __init__(
        self,
        clock: VirtualClock,
        buffer: bytearray | memoryview,
        window_changed: Callable[[Window | None], None] = lambda window: None,
        stored: Callable[[int, int], None] = lambda start, length: None,
        is_untouched: Callable[[], bool] = lambda: False,
    ) -> None:
        """`buffer` is video memory: a whole number of 64 KiB, at least 256 KiB; it is the linear framebuffer too."""
        self.buffer = buffer
        self.registers = VgaRegisters(clock)
        self.dispi = Dispi(self.registers, buffer)
        self.memory = VgaMemory(self.registers, self.dispi, buffer, window_changed, stored, is_untouched)
        self.mmio = VgaMmio(self.registers, self.dispi)
        self.registers.memory_changed = self.dispi.memory_changed = self.memory.refresh
        self.registers.drawing_changed = self.memory.refresh_drawing

    @property
    def devices(self) -> tuple[Device, Device, Device]:
        return self.registers, self.dispi, self.memory
