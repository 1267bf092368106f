"""Video memory as the processor sees it through A0000h-BFFFFh: four maps behind latches, or plain bytes.

One buffer holds everything: the 256 KiB of the VGA are its first ones. How a byte of map m at address a (0 to FFFFh)
lies in it follows the way the processor addresses memory, so that what guests write most is plain memory:

- *quads*: 4 * a + m. Chain 4 puts byte A in map A & 3 at A >> 2: byte A of the buffer. Linear modes of the DISPI
  interface are the buffer itself. Planar modes find the four bytes of an address side by side, as latches want them.
- *pairs*: 2 * a + (m & 1), maps 2 and 3 from 128 KiB on. Odd/even puts byte A in map A & 1 at A >> 1: byte A again.

The buffer is in pairs while odd/even addressing is on (text), and is rearranged when it is switched on or off, which
mode sets and font loads do a few times. Addresses are those the CRT controller counts: a VGA proper leaves gaps
(odd/even at A & ~1, chain 4 at A & ~3) that its counter steps over; without them nothing else is seen by who does not
read in one addressing what was written in another.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from bt.devices.debug.output import OutputQueue, Sender
from bt.devices.device import Device
from bt.devices.display import registers as vga
from bt.devices.display import vga_native
from bt.devices.display.dispi import Dispi
from bt.devices.display.registers import VgaRegisters
from bt.devices.display.vga_native import EVERYWHERE, PAGE_BITS, VgaMemoryShared, read_memory, write_memory
from bt.devices.shared import address_of
from bt.memory.native_registers import NativeRegister

VGA_BYTES = 256 << 10
APERTURE, APERTURE_BYTES = 0xA0000, 0x20000
MAPPED = ((0, 0x20000), (0, 0x10000), (0x10000, 0x8000), (0x18000, 0x8000))  # graphics miscellaneous bits 3:2
BANK_BITS = 16

# four bits to four bytes of 00 or FF, one bit a map
MAPS = tuple(sum(0xFF << 8 * n for n in range(4) if bits >> n & 1) for bits in range(16))
ALL_MAPS = 0xFFFFFFFF
_HALF = VGA_BYTES // 2


class Window(NamedTuple):
    """Part of the aperture that is plain memory at the moment."""

    start: int  # aperture offset
    length: int
    buffer_offset: int


class VgaMemory(VgaMemoryShared, Sender, Device):
    """IBM PS/2 Hardware Interface Technical Reference (84F9808), "Video Subsystem", graphics controller.

    `buffer` is at least 256 KiB, what it holds is kept by its owner and is not in `state()`. The VMM may let guests
    store into `window` without asking; `window_changed(window)` is called when the window has another place, or none,
    `stored(start, length)` when the device has written to the buffer; `is_untouched()`: it is all zeros. Loads from a
    window do not fill the latches. Odd/even ignores the page bit of miscellaneous output, and its bit that would take
    memory away from the processor is storage, as on QEMU's display: firmware made for that leaves it clear.
    """

    widest_access = 8
    fields = ("_latch", "_in_pairs")

    def __init__(
        self,
        registers: VgaRegisters,
        dispi: Dispi,
        buffer: bytearray | memoryview,
        window_changed: Callable[[Window | None], None] = lambda window: None,
        stored: Callable[[int, int], None] = lambda start, length: None,
        is_untouched: Callable[[], bool] = lambda: False,
        name: str = "VGA memory",
    ) -> None:
        super().__init__(name)
        if len(buffer) < VGA_BYTES:
            raise ValueError(f"{len(buffer)} bytes of video memory; a VGA has {VGA_BYTES}")
        self._registers, self._dispi = registers, dispi
        self.buffer = buffer
        self._window_changed = window_changed
        self._stored = stored
        self._is_untouched = is_untouched
        self._registers_block, self._buffer_address = registers.block, address_of(buffer)
        self.window: Window | None = None
        self._latch = 0
        self._in_pairs = False
        self._dispi_was_enabled = False
        self.refresh()

    # what the display sees

    def quad(self, address: int) -> bytes:
        """The bytes of maps 0 to 3 at `address`, taken modulo 64 Ki."""
        return self._load(address & 0xFFFF).to_bytes(4, "little")

    def map_bytes(self, number: int, start: int, length: int) -> bytes:
        """`length` bytes of one map from `start` on; what is beyond its 64 KiB reads as nothing."""
        if self._in_pairs:
            first = (number >> 1) * _HALF
            return bytes(self.buffer[first + 2 * start + (number & 1) : first + min(2 * (start + length), _HALF) : 2])
        return bytes(self.buffer[4 * start + number : min(4 * (start + length), VGA_BYTES) : 4])

    def put_map(self, number: int, start: int, data: bytes) -> None:
        """Store bytes in one map from `start` on, as far as its 64 KiB go; see `map_bytes`."""
        data = data[: max(0, (VGA_BYTES // 4) - start)]
        if self._in_pairs:
            first, step = (number >> 1) * _HALF + 2 * start + (number & 1), 2
        else:
            first, step = 4 * start + number, 4
        if data:
            length = step * (len(data) - 1) + 1
            span = bytearray(self.buffer[first : first + length])  # of which slices with steps are 50 times as fast
            span[::step] = data
            self.buffer[first : first + length] = span
            self._stored(first, length)

    def quads(self) -> bytes:
        """The VGA's 256 KiB in quads."""
        data = bytes(self.buffer[:VGA_BYTES])
        return bytes(_quads_of(data)) if self._in_pairs else data

    # what the processor sees

    def refresh(self) -> None:
        """A register has changed: find out what memory looks like."""
        registers, dispi = self._registers, self._dispi
        graphics, mode = registers.graphics, registers.graphics[vga_native.GRAPHICS_MODE]
        on_dispi = dispi.enabled
        self._linear = on_dispi and dispi.bits > 4
        self._chain_4 = bool(registers.sequencer[vga.MEMORY_MODE] & vga.MEMORY_CHAIN_4) and not on_dispi
        self._odd_even = bool(mode & vga.MODE_ODD_EVEN) and not self._chain_4 and not on_dispi
        if on_dispi != self._dispi_was_enabled:  # it may have cleared memory
            self._dispi_was_enabled = on_dispi
            self._stored(0, len(self.buffer))
        start, length = MAPPED[graphics[vga_native.GRAPHICS_MISC] >> 2 & 3]
        self._start, self._end = start, start + length
        self._bank = dispi.bank << BANK_BITS if on_dispi else 0
        self._write_mode = mode & 3
        self._compares = bool(mode & vga_native.MODE_READ_COMPARE)
        if self._odd_even != self._in_pairs:
            self._rearrange(self._odd_even)
        registers.is_planar = not (on_dispi or self._chain_4 or self._odd_even)
        self.refresh_drawing()

    def refresh_drawing(self) -> None:
        """A register has changed that says what becomes of a byte, not where it goes: drawing does that all the time.

        1.5 us instead of 4 us.
        """
        graphics = self._registers.graphics
        self._registers.drawing_changed_natively = False
        maps = self._map_mask = self._registers.sequencer[vga_native.MAP_MASK]
        self._set_reset = MAPS[graphics[vga_native.SET_RESET]]
        enabled, rotate = graphics[vga_native.ENABLE_SET_RESET], graphics[vga_native.DATA_ROTATE]
        self._enable_set_reset = MAPS[enabled]
        self._rotate, self._function = rotate & 7, rotate >> 3
        self._bit_mask = graphics[vga_native.BIT_MASK] * EVERYWHERE
        window = None
        if self._linear:
            plain = True
        elif enabled or rotate or self._bit_mask != ALL_MAPS or self._write_mode or self._compares:
            plain = False
        else:
            plain = (self._chain_4 and maps == 0xF) or (
                self._odd_even and maps == 0x3 and not graphics[vga_native.READ_MAP] & 2
            )
        if plain:
            length = self._end - self._start
            if length and self._bank + length <= len(self.buffer):
                window = Window(self._start, length, self._bank)
        if window != self.window:
            self.window = window
            self._window_changed(window)

    def note_stores_through(self, queue: OutputQueue) -> None:
        """From now on native code may store, and leaves word in the queue."""
        self.send_to(queue.output(lambda _: self._tell_of_stores(), is_heard=False))

    def _tell_of_stores(self) -> None:
        pages, self._stored_pages = self._stored_pages, 0
        for page in range(64):
            if pages >> page & 1:
                self._stored(page << PAGE_BITS, 1 << PAGE_BITS)

    def native_window(self) -> NativeRegister:
        return NativeRegister(self.block, read_memory, write_memory)

    def read(self, offset: int, size: int) -> int:
        if self._registers.drawing_changed_natively:
            self.refresh_drawing()
        value = 0
        for n in range(size):
            value |= self._read(offset + n) << 8 * n
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        if self._registers.drawing_changed_natively:
            self.refresh_drawing()
        for n in range(size):
            self._write(offset + n, value >> 8 * n & 0xFF)

    def _read(self, offset: int) -> int:
        if not self._start <= offset < self._end:
            return 0xFF
        offset -= self._start
        if self._linear:
            index = self._bank + offset
            return self.buffer[index] if index < len(self.buffer) else 0xFF
        graphics = self._registers.graphics
        if self._chain_4:
            address, selected = offset >> 2, offset & 3
        elif self._odd_even:
            address, selected = offset >> 1, graphics[vga_native.READ_MAP] & 2 | offset & 1
        else:
            address, selected = self._bank + offset, graphics[vga_native.READ_MAP]
        latch = self._latch = self._load(address)
        if not self._compares or self._chain_4:
            return latch >> 8 * selected & 0xFF
        different = (latch ^ MAPS[graphics[vga_native.COLOUR_COMPARE]]) & MAPS[graphics[vga_native.COLOUR_DONT_CARE]]
        different |= different >> 16
        return ~(different | different >> 8) & 0xFF

    def _write(self, offset: int, value: int) -> None:
        if not self._start <= offset < self._end:
            return
        offset -= self._start
        if self._linear:
            index = self._bank + offset
            if index < len(self.buffer):
                self.buffer[index] = value
                self._stored(index, 1)
            return
        maps = self._map_mask
        if self._chain_4:
            address = offset >> 2
            maps &= 1 << (offset & 3)
        elif self._odd_even:
            address = offset >> 1
            maps &= 0b1010 if offset & 1 else 0b0101
        else:
            address = self._bank + offset
        if maps:
            written = self._combine(value)
            if maps != 0xF:
                mask = MAPS[maps]
                written = written & mask | self._load(address) & ~mask
            self._store(address, written)

    def _combine(self, value: int) -> int:
        """What the graphics controller makes of a byte from the processor, for all maps."""
        mode = self._write_mode
        if mode == 1:
            return self._latch
        if mode == 2:
            source, mask = MAPS[value & 0xF], self._bit_mask
        else:
            rotate = self._rotate
            value = (value >> rotate | value << 8 - rotate) & 0xFF
            if mode == 3:
                source, mask = self._set_reset, self._bit_mask & value * EVERYWHERE
            else:
                enabled, mask = self._enable_set_reset, self._bit_mask
                source = value * EVERYWHERE & ~enabled | self._set_reset & enabled
        match self._function:
            case 1:
                source &= self._latch
            case 2:
                source |= self._latch
            case 3:
                source ^= self._latch
        return source & mask | self._latch & ~mask

    def _load(self, address: int) -> int:
        """The maps' bytes at `address`, map 0 in bits 7:0."""
        if self._in_pairs:
            first = 2 * (address & 0xFFFF)
            buffer = self.buffer
            return (
                buffer[first]
                | buffer[first + 1] << 8
                | buffer[_HALF + first] << 16
                | buffer[_HALF + first + 1] << 24
            )  # fmt: skip
        first = 4 * self._within(address)
        return int.from_bytes(self.buffer[first : first + 4], "little")

    def _store(self, address: int, value: int) -> None:
        data = value.to_bytes(4, "little")
        if self._in_pairs:
            first = 2 * (address & 0xFFFF)
            self.buffer[first : first + 2] = data[:2]
            self.buffer[_HALF + first : _HALF + first + 2] = data[2:]
            self._stored(first, 2)
            self._stored(_HALF + first, 2)
        else:
            first = 4 * self._within(address)
            self.buffer[first : first + 4] = data
            self._stored(first, 4)

    def _within(self, address: int) -> int:
        """Maps have 64 KiB, but in planar DISPI modes as much as there is."""
        return address % (len(self.buffer) >> 2) if self._dispi.enabled else address & 0xFFFF

    def _rearrange(self, in_pairs: bool) -> None:
        """0.6 ms; memory that nobody has touched yet stays so, and costs the host nothing."""
        self._in_pairs = in_pairs
        if self._is_untouched():
            return
        data = bytes(self.buffer[:VGA_BYTES])
        self.buffer[:VGA_BYTES] = _pairs_of(data) if in_pairs else _quads_of(data)
        self._stored(0, VGA_BYTES)

    def reset(self) -> None:
        """Video memory keeps what it has."""
        self._latch = 0
        self.refresh()

    def restore(self, state: dict[str, Any]) -> None:
        """After registers and DISPI. Whoever restores puts back what the buffer held, in the order `state` says."""
        super().restore(state)
        self._dispi_was_enabled = self._dispi.enabled
        self.refresh()


def _pairs_of(quads: bytes) -> bytearray:
    pairs = bytearray(VGA_BYTES)
    for number in range(4):
        first = (number >> 1) * _HALF
        pairs[first + (number & 1) : first + _HALF : 2] = quads[number::4]
    return pairs


def _quads_of(pairs: bytes) -> bytearray:
    quads = bytearray(VGA_BYTES)
    for number in range(4):
        first = (number >> 1) * _HALF
        quads[number::4] = pairs[first + (number & 1) : first + _HALF : 2]
    return quads
