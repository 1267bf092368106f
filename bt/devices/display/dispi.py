"""The Bochs display interface: linear modes of 8 to 32 bits a pixel in a few registers."""

from collections.abc import Callable
from typing import Any

from bt.devices.device import Device
from bt.devices.display.registers import MODE_SHIFT_256, MODE_SHIFT_INTERLEAVED, VgaRegisters
from bt.devices.display.vga_native import GRAPHICS_MISC, GRAPHICS_MODE

FIRST_PORT, PORT_COUNT = 0x1CE, 4
INDEX, DATA, DATA_ALIGNED = 0, 1, 2  # offsets; the last is for processors that want words at even addresses

ID, WIDTH, HEIGHT, BITS, ENABLE, BANK, VIRTUAL_WIDTH, VIRTUAL_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY_64K = range(11)
FIRST_ID, LAST_ID = 0xB0C0, 0xB0C5
ENABLED, GET_CAPABILITIES, DAC_8_BITS, KEEP_MEMORY = 1 << 0, 1 << 1, 1 << 5, 1 << 7
MAX_WIDTH, MAX_HEIGHT, MAX_BITS = 16_000, 12_000, 32
CAPABILITIES = {WIDTH: MAX_WIDTH, HEIGHT: MAX_HEIGHT, BITS: MAX_BITS}
BITS_STORED = {4: 4, 8: 8, 15: 16, 16: 16, 24: 24, 32: 32}  # bits a pixel takes in memory
WORD = 2  # bytes: other accesses are nobody's


class Dispi(Device):
    """The interface as Bochs and QEMU document it (Bochs, vbe_display_api.txt, version B0C5h).

    Offset 0 is the index, offset 1 (and 2) the data, both of 16 bits. What the guest asks for while a mode is on is
    brought to what fits into memory. Linear memory is the whole of `buffer`, the aperture a bank of 64 KiB of it.
    `memory_changed()` is called when the mode or the bank has changed.
    """

    widest_access = 2
    fields = ("_index",)

    def __init__(
        self,
        registers: VgaRegisters,
        buffer: bytearray | memoryview,
        memory_changed: Callable[[], None] = lambda: None,
        name: str = "DISPI",
    ) -> None:
        super().__init__(name)
        self._vga = registers
        self._buffer = buffer
        self.memory_changed = memory_changed
        self._registers = [0] * 11
        self._power_on()

    @property
    def enabled(self) -> bool:
        return bool(self._registers[ENABLE] & ENABLED)

    @property
    def bits(self) -> int:
        """Bits a pixel, as the guest names them."""
        return self._registers[BITS]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._registers[WIDTH], self._registers[HEIGHT]

    @property
    def bank(self) -> int:
        return self._registers[BANK]

    @property
    def line_bytes(self) -> int:
        return self._registers[VIRTUAL_WIDTH] * BITS_STORED[self.bits] >> 3

    @property
    def start(self) -> int:
        """Where in memory the first pixel shown is."""
        registers = self._registers
        return registers[Y_OFFSET] * self.line_bytes + (registers[X_OFFSET] * BITS_STORED[self.bits] >> 3)

    def read(self, offset: int, size: int) -> int:
        if size != WORD:
            return (1 << 8 * size) - 1
        if offset == INDEX:
            return self._index
        index = self._index
        if index > MEMORY_64K:
            return 0
        if self._registers[ENABLE] & GET_CAPABILITIES and index in CAPABILITIES:
            return CAPABILITIES[index]
        return self._registers[index]

    def write(self, offset: int, size: int, value: int) -> None:
        if size != WORD:
            return
        if offset == INDEX:
            self._index = value
            return
        index = self._index
        match index:
            case 0:  # ID
                if FIRST_ID <= value <= LAST_ID:
                    self._registers[ID] = value
            case 4:  # ENABLE
                self._enable(value)
            case 5:  # BANK
                self._registers[BANK] = value % (len(self._buffer) >> 16)
                self.memory_changed()
            case 1 | 2 | 3 | 6 | 8 | 9:
                self._registers[index] = value
                if self.enabled:
                    self._fit()
                    self._set_vga()

    def reset(self) -> None:
        self._power_on()
        self.memory_changed()

    def state(self) -> dict[str, Any]:
        return super().state() | {"registers": list(self._registers)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._registers = list(state["registers"])

    def _power_on(self) -> None:
        self._index = 0
        self._registers = [0] * 11
        self._registers[ID] = LAST_ID
        self._registers[MEMORY_64K] = len(self._buffer) >> 16

    def _enable(self, value: int) -> None:
        registers = self._registers
        was_enabled = self.enabled
        registers[ENABLE] = value
        registers[BANK] = 0
        self._vga.dac_bits = 8 if value & DAC_8_BITS else 6
        if value & ENABLED:
            if not was_enabled:
                registers[VIRTUAL_WIDTH] = registers[X_OFFSET] = registers[Y_OFFSET] = 0
            self._fit()
            self.memory_changed()
            if not was_enabled and not value & KEEP_MEMORY:
                length = registers[HEIGHT] * self.line_bytes
                self._buffer[:length] = bytes(length)
            self._set_vga()
        else:
            self.memory_changed()

    def _fit(self) -> None:
        """Bring the registers to a mode that memory has room for."""
        registers, memory = self._registers, len(self._buffer)
        if registers[BITS] not in BITS_STORED:
            registers[BITS] = 8
        registers[WIDTH] = max(8, min(registers[WIDTH] & ~7, MAX_WIDTH))
        registers[VIRTUAL_WIDTH] = max(registers[WIDTH], min(registers[VIRTUAL_WIDTH] & ~7, MAX_WIDTH))
        line = self.line_bytes
        registers[HEIGHT] = max(1, min(registers[HEIGHT], MAX_HEIGHT, memory // line))
        registers[VIRTUAL_HEIGHT] = memory // line & 0xFFFF
        registers[X_OFFSET] = min(registers[X_OFFSET], MAX_WIDTH)
        registers[Y_OFFSET] = min(registers[Y_OFFSET], MAX_HEIGHT)
        shown = registers[HEIGHT] * line
        for offset in (Y_OFFSET, X_OFFSET):
            if self.start + shown > memory:
                registers[offset] = 0

    def _set_vga(self) -> None:
        """The VGA's registers follow the mode: who reads them finds its size, 64 KiB at A0000h, no split screen."""
        vga, crtc = self._vga, self._vga.crtc
        width, height = self.size
        shift = 0 if self.bits == 4 else MODE_SHIFT_256
        mode = vga.graphics[GRAPHICS_MODE] & ~(MODE_SHIFT_256 | MODE_SHIFT_INTERLEAVED) | shift
        vga.set_graphics(GRAPHICS_MODE, mode)
        vga.set_graphics(GRAPHICS_MISC, vga.graphics[GRAPHICS_MISC] & ~0x0C | 0x05)
        last = height - 1
        for index, value in (
            (0x01, (width >> 3) - 1),
            (0x07, crtc[0x07] & ~0x42 | last >> 7 & 0x02 | last >> 3 & 0x40 | 0x10),
            (0x09, crtc[0x09] & ~0x9F | 0x40),
            (0x12, last),
            (0x13, self.line_bytes >> 3),
            (0x17, crtc[0x17] | 0x03),
            (0x18, 0xFF),
        ):
            vga.set_crtc(index, value & 0xFF)
        self.memory_changed()
