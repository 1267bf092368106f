"""A PCI function: its configuration space, and where its regions are."""

import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple

from bt.devices.device import Device, Line

CONFIG_BYTES = 256
VENDOR, COMMAND, STATUS, CACHE_LINE = 0x00, 0x04, 0x06, 0x0C
FIRST_BAR, SUBSYSTEM, ROM_BAR, CAPABILITIES, INTERRUPT_LINE = 0x10, 0x2C, 0x30, 0x34, 0x3C
DEVICE_SPECIFIC = 0x40

COMMAND_IO, COMMAND_MEMORY, COMMAND_MASTER, COMMAND_NO_INTX = 1 << 0, 1 << 1, 1 << 2, 1 << 10
COMMAND_WRITABLE = 0x0507  # with parity and system errors, which never happen
STATUS_INTERRUPT, STATUS_CAPABILITIES = 1 << 3, 1 << 4
MULTIFUNCTION = 0x80
ROM_ENABLED, ROM_ADDRESS = 1 << 0, 0xFFFF_F800
ROM = 6  # the number of the ROM among the regions
QEMU_SUBSYSTEM = (0x1AF4, 0x1100)  # SeaBIOS and guests know by it that they need not touch real hardware
_HEADER = struct.Struct("<HH2xHB3s2xB29xHH13xB2x")  # of what `Identity.header` has


def _writable() -> bytes:
    """The bits of configuration space that guests may change where there are no regions."""
    writable = bytearray(DEVICE_SPECIFIC).ljust(CONFIG_BYTES, b"\xff")
    writable[COMMAND : COMMAND + 2] = COMMAND_WRITABLE.to_bytes(2, "little")
    writable[CACHE_LINE] = writable[INTERRUPT_LINE] = 0xFF
    return bytes(writable)


_WRITABLE = _writable()


class Space(IntEnum):
    """What bits 3:0 of a base address register say."""

    MEMORY = 0b0000
    IO = 0b0001
    PREFETCHABLE = 0b1000


class Bar(NamedTuple):
    """A region: `size` in bytes, a power of two, at least 16 of memory and 4 of I/O."""

    size: int
    space: Space


class Identity(NamedTuple):
    vendor: int
    device: int
    class_code: int  # base class, subclass, programming interface: 24 bits
    revision: int = 0
    status: int = 0
    multifunction: bool = False
    interrupt_pin: int = 0  # 1 is INTA#

    @property
    def header(self) -> bytes:
        """The first 64 bytes of configuration space, without regions."""
        class_code, header_type = self.class_code.to_bytes(3, "little"), MULTIFUNCTION if self.multifunction else 0
        return _HEADER.pack(
            self.vendor,
            self.device,
            self.status,
            self.revision,
            class_code,
            header_type,
            *QEMU_SUBSYSTEM,
            self.interrupt_pin,
        )


@cache
def _blank(identity: Identity) -> bytes:
    """Configuration space without regions: beyond the first 64 bytes it is zeros."""
    return identity.header.ljust(CONFIG_BYTES, b"\0")


class PciFunction(Device):
    """PCI Local Bus Specification 2.1, section 6.

    `moved(number, address)` is called when region `number` (0 to 5, `ROM`) is to answer at `address` from now on, or
    nowhere (None): while its space is off, while nobody has given it an address, while the guest asks for its size.
    Registers from 40h on are storage unless a subclass knows better. A state restored leads to the same calls.
    """

    widest_access = 4

    def __init__(
        self,
        name: str,
        identity: Identity,
        bars: Mapping[int, Bar] | None = None,
        rom_bytes: int = 0,
        moved: Callable[[int, int | None], None] = lambda number, address: None,
        defaults: Mapping[int, int] | None = None,
    ) -> None:
        """`defaults`: bytes from 40h on after a reset."""
        super().__init__(name)
        self.intx = Line(f"{name} INTx")
        self.bars = dict(bars or {})
        if rom_bytes:
            self.bars[ROM] = Bar(rom_bytes, Space.MEMORY)
        self._moved = moved
        self._identity = identity
        self._defaults = dict(defaults or {})
        self._capabilities: list[tuple[int, bytes]] = []  # where, and what after a reset
        self._interrupting = False
        self._places: dict[int, int | None] = dict.fromkeys(self.bars)
        self._config = bytearray(CONFIG_BYTES)
        self._writable = bytearray(_WRITABLE)
        for number, bar in self.bars.items():
            mask = -bar.size & 0xFFFF_FFFF | (ROM_ENABLED if number == ROM else 0)
            at = bar_register(number)
            self._writable[at : at + 4] = mask.to_bytes(4, "little")
        self._set_defaults()

    @property
    def interrupt_pin(self) -> int:
        """1 to 4 for INTA# to INTD#, 0 for none."""
        return self._identity.interrupt_pin

    @property
    def command(self) -> int:
        return self._word(COMMAND)

    @property
    def may_master(self) -> bool:
        """The guest lets the function do DMA."""
        return bool(self.command & COMMAND_MASTER)

    def address_of(self, number: int) -> int | None:
        """Where the region is."""
        return self._places[number]

    def add_capability(self, number: int, data: bytes, writable: bytes = b"") -> int:
        """Put a capability in front of the list; `data` is what follows its header, `writable` the bits guests may
        change. Returns its offset."""
        last, size = self._capabilities[-1] if self._capabilities else (DEVICE_SPECIFIC, b"")
        offset = last + (len(size) + 3 & ~3)
        header = bytes((number, last if self._capabilities else 0))
        self._capabilities.append((offset, header + data))
        length = len(data) + len(header)
        self._writable[offset : offset + length] = (bytes(2) + writable).ljust(length, b"\0")
        self._set_defaults()
        return offset

    def set_interrupt(self, level: bool) -> None:
        """Drive INTx#, as far as the guest lets the function."""
        self._interrupting = level
        status = self._word(STATUS)
        self._set_word(STATUS, status | STATUS_INTERRUPT if level else status & ~STATUS_INTERRUPT)
        self.intx.set(level and not self.command & COMMAND_NO_INTX)

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._config[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        config, writable = self._config, self._writable
        for at in range(offset, offset + size):
            mask = writable[at]
            config[at] = config[at] & ~mask | value & mask
            value >>= 8
        if offset < DEVICE_SPECIFIC:
            self._place_regions()
            if offset < STATUS:
                self.intx.set(self._interrupting and not self.command & COMMAND_NO_INTX)
        self.written(offset, size)

    def written(self, offset: int, size: int) -> None:
        """Registers from `offset` on have been written; for subclasses."""

    def reset(self) -> None:
        self._set_defaults()
        self._place_regions()
        self.set_interrupt(False)
        self.written(0, CONFIG_BYTES)

    def state(self) -> dict[str, Any]:
        return super().state() | {"config": self._config.hex(), "interrupting": self._interrupting}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._config[:] = bytes.fromhex(state["config"])
        self._interrupting = state["interrupting"]
        self._place_regions()
        self.intx.set(self._interrupting and not self.command & COMMAND_NO_INTX)
        self.written(0, CONFIG_BYTES)

    def _word(self, offset: int) -> int:
        return self._config[offset] | self._config[offset + 1] << 8

    def _set_word(self, offset: int, value: int) -> None:
        self._config[offset : offset + 2] = value.to_bytes(2, "little")

    def _set_defaults(self) -> None:
        """What a reset leaves."""
        config = self._config
        config[:] = _blank(self._identity)
        if self._capabilities:
            config[STATUS] |= STATUS_CAPABILITIES
        for number, bar in self.bars.items():
            config[bar_register(number)] = bar.space
        for offset, value in self._defaults.items():
            config[offset] = value
        for offset, data in self._capabilities:
            config[offset : offset + len(data)] = data
            config[CAPABILITIES] = offset

    def _place_regions(self) -> None:
        command = self._config[COMMAND]
        for number, bar in self.bars.items():
            at = bar_register(number)
            value = int.from_bytes(self._config[at : at + 4], "little")
            address = value & -bar.size
            on = command & (COMMAND_IO if bar.space is Space.IO else COMMAND_MEMORY)
            if number == ROM:
                on = on and value & ROM_ENABLED
            beyond = address + bar.size > (1 << 16 if bar.space is Space.IO else (1 << 32) - 1)
            place = address if on and address and not beyond else None  # ones: the guest asks for the size
            if place != self._places[number]:
                self._places[number] = place
                self._moved(number, place)


def bar_register(number: int) -> int:
    """Offset of the base address register of a region."""
    return ROM_BAR if number == ROM else FIRST_BAR + 4 * number
