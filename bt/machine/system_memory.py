"""What a PC's memory is made of beside RAM: video memory, the BIOS, option ROMs, and who answers below 1 MiB."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bt.devices.display.memory import APERTURE, APERTURE_BYTES, Window
from bt.devices.display.vga import MEMORY_BYTES
from bt.devices.pci.i440fx import Target
from bt.machine.place import Place, place
from bt.memory.map import PhysicalMap, Use
from bt.memory.ram import GuestRam
from bt.x86.page import PAGE

FOUR_GIB = 1 << 32
SHADOW, SHADOW_BYTES = 0xE0000, 0x20000  # where the last 128 KiB of the BIOS are seen below 1 MiB
OPTION_ROMS, ONE_MIB = 0xC0000, 0x100000
UNIT = 0x4000  # of what a bridge says: no region is smaller


class SystemMemory:
    """Puts into a machine's map what is no RAM. `close` gives its memories back, after the processor has gone."""

    def __init__(self, memory: PhysicalMap, has_bridge: bool) -> None:
        """With a bridge, nobody answers from C0000h to 1 MiB before it has said who does (`set_region`)."""
        self._map = memory
        self._held = ExitStack()
        self._bios: GuestRam | None = None
        self._window: Window | None = None  # of the aperture that is in the map
        self._owners: dict[int, tuple[Target, Target]] = {}  # what a bridge has said of each unit
        self.video = self._held.enter_context(GuestRam(MEMORY_BYTES))
        memory.know(self.video)  # where it is mapped depends on how far the machine has come
        if has_bridge:
            memory.remove(APERTURE, ONE_MIB - APERTURE)
            self._owners = dict.fromkeys(range(OPTION_ROMS, ONE_MIB, UNIT), (Target.PCI, Target.PCI))
        else:
            memory.remove(APERTURE, APERTURE_BYTES)

    @property
    def ram(self) -> GuestRam:
        return self._map.ram

    # -- the BIOS -----------------------------------------------------------------------------------------------------

    def add_bios(self, image: bytes) -> None:
        """Put it at the top of 4 GiB, whole pages of it."""
        self._bios = self._rom(image)
        self._map.add_rom(FOUR_GIB - self._bios.size, self._bios)
        for start, owners in self._owners.items():
            self.set_region(start, UNIT, *owners)

    def copy_bios_down(self) -> None:
        """What a board without a bridge to say who answers there has below 1 MiB: the BIOS in writable RAM."""
        if self._bios is not None:
            length = min(self._bios.size, SHADOW_BYTES)
            self._map.ram.write(ONE_MIB - length, self._bios.read(self._bios.size - length, length))

    def set_region(self, start: int, length: int, reads: Target, writes: Target) -> None:
        """What programmable attribute registers say of whole units has changed; see bt/devices/pci/i440fx.py."""
        if start < OPTION_ROMS:
            return  # RAM behind the display is for system management mode, which there is not
        self._owners |= dict.fromkeys(range(start, start + length, UNIT), (reads, writes))
        if reads is Target.RAM:
            self._map.remap(start, length, Use.RAM if writes is Target.RAM else Use.ROM, self._map.ram, start)
            return
        end = start + length
        shadow = ONE_MIB if self._bios is None else max(start, ONE_MIB - min(self._bios.size, SHADOW_BYTES))
        if start < shadow:  # stores there that are for RAM vanish, too: who reads nothing back writes nothing
            self._map.remove(start, min(end, shadow) - start)
        if self._bios is not None and shadow < end:
            use = Use.ROM_OVER_RAM if writes is Target.RAM else Use.ROM
            self._map.remap(shadow, end - shadow, use, self._bios, self._bios.size - ONE_MIB + shadow)

    def video_is_untouched(self) -> bool:
        """Nobody has read or written it yet."""
        return next(self.video.extents(), None) is None

    # -- the display --------------------------------------------------------------------------------------------------

    def show_window(self, window: Window | None) -> None:
        """Have this part of the VGA's aperture be plain memory, and the rest ask the device."""
        if self._window is not None:
            self._map.remove(APERTURE + self._window.start, self._window.length)
        self._window = window
        if window is not None:
            self._map.add_window(APERTURE + window.start, self.video, window.length, window.buffer_offset)

    def framebuffer(self) -> Place:
        """Places the linear framebuffer at an address, or nowhere."""
        return self._place(lambda address: self._map.add_window(address, self.video), self.video.size)

    def option_rom(self, read: Callable[[], bytes], length: int) -> Place:
        """Places a ROM of a PCI function, of which `length` bytes are shown; `read` when somebody first wants it."""
        rom: GuestRam | None = None

        def add(address: int) -> None:
            nonlocal rom
            if rom is None:
                rom = self._rom(read().ljust(length, b"\xff"))
            self._map.add_rom(address, rom)

        return self._place(add, length)

    def _place(self, add: Callable[[int], None], length: int) -> Place:
        def put(address: int) -> Callable[[], None]:
            add(address)
            return partial(self._map.remove, address, length)

        return place(put)

    def _rom(self, image: bytes) -> GuestRam:
        rom = self._held.enter_context(GuestRam(-(-len(image) // PAGE) * PAGE))
        rom.write(0, image)
        return rom

    def close(self) -> None:
        self._held.close()
