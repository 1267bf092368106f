"""What the built-in BIOS sees of the machine: memory, ports, time, and what it was told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bt.clock.virtual_clock import VirtualClock
from bt.devices.storage.ata.ata_device import AtaDevice
from bt.devices.storage.disk_port import DiskPort
from bt.memory.bus import Bus
from bt.memory.ram import OutsideRam

LOW_RAM_END = 0xA0000


class Memory(Protocol):
    """All memory by physical address; raises OutsideRam unless all of an access is memory."""

    def read(self, paddr: int, n: int, /) -> bytes: ...
    def write(self, paddr: int, data: bytes | bytearray | memoryview, /) -> None: ...


@dataclass(frozen=True)
class AtaPlace:
    """A drive on an IDE channel, 0 or 1 each; `sectors` of 512 bytes are on a disk."""

    channel: int
    position: int
    is_cdrom: bool
    sectors: int = 0


@dataclass(frozen=True)
class DirectPlace:
    """A disk of `sectors` of 512 bytes that is no drive of a channel: number `number` of `Pc.direct`."""

    number: int
    sectors: int
    is_cdrom = False


Place = AtaPlace | DirectPlace


@dataclass(frozen=True)
class Facts:
    """What does not change while the machine lives.

    `memory_map`: start, length and type of each range as E820 has them; `extended_kib`: memory from 1 MiB up, without
    what is above the addresses of devices. `boot_order`: letters as -boot has them.
    """

    memory_map: Sequence[tuple[int, int, int]]
    extended_kib: int
    drives: Sequence[Place]  # as the BIOS counts them
    floppies: Sequence[int]  # their kinds as CMOS has them
    boot_order: str
    has_pci: bool


class Pc:
    """Memory and ports for services. Nothing here raises for an address that a guest has chosen."""

    def __init__(
        self,
        low_ram: Memory,
        memory: Memory,
        ports: Bus,
        windows: Bus,
        clock: VirtualClock,
        address_mask: Callable[[], int],
        drive: Callable[[int, int], AtaDevice | None],
        direct: Sequence[DiskPort],
        put_video_map: Callable[[int, int, bytes], None],
        video_map: Callable[[int, int, int], bytes],
        facts: Facts,
    ) -> None:
        """`low_ram` is what is in `memory` below 640 KiB; `windows` answers where no memory is.

        `address_mask` is the A20 gate's; `drive` knows the devices by channel and position; `direct` are ways to disks
        without their devices; `put_video_map(number, start, data)` stores in one of the VGA's four maps,
        `video_map(number, start, n)` reads it.
        """
        self._low_ram, self._memory, self._windows, self._address_mask = low_ram, memory, windows, address_mask
        self.ports, self.clock, self.drive, self.direct, self.facts = ports, clock, drive, direct, facts
        self.put_video_map, self.video_map = put_video_map, video_map

    def read(self, address: int, n: int) -> bytes:
        if address + n <= LOW_RAM_END:  # as most are: 1 us instead of 15
            return self._low_ram.read(address, n)
        return self.read_without_gate(address & self._address_mask(), n)

    def write(self, address: int, data: bytes) -> None:
        if address + len(data) <= LOW_RAM_END:
            self._low_ram.write(address, data)
            return
        self.write_without_gate(address & self._address_mask(), data)

    def _byte_at(self, address: int) -> int:
        try:
            return self._memory.read(address, 1)[0]
        except OutsideRam:
            return self._windows.read(address, 1)

    def _put_byte(self, address: int, value: int) -> None:
        try:
            self._memory.write(address, bytes((value,)))
        except OutsideRam:
            self._windows.write(address, 1, value)

    def read_without_gate(self, address: int, n: int) -> bytes:
        """Whatever the A20 gate does."""
        try:
            return self._memory.read(address, n)
        except OutsideRam:
            return bytes(self._byte_at(address + index) for index in range(n))

    def write_without_gate(self, address: int, data: bytes) -> None:
        try:
            self._memory.write(address, data)
        except OutsideRam:
            for index, value in enumerate(data):
                self._put_byte(address + index, value)

    def byte(self, address: int) -> int:
        return self.read(address, 1)[0]

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 2), "little")

    def long(self, address: int) -> int:
        return int.from_bytes(self.read(address, 4), "little")

    def put_byte(self, address: int, value: int) -> None:
        self.write(address, bytes((value & 0xFF,)))

    def put_word(self, address: int, value: int) -> None:
        self.write(address, (value & 0xFFFF).to_bytes(2, "little"))

    def put_long(self, address: int, value: int) -> None:
        self.write(address, (value & 0xFFFF_FFFF).to_bytes(4, "little"))

    def set_bits(self, address: int, bits: int, value: bool) -> None:
        old = self.byte(address)
        self.put_byte(address, old | bits if value else old & ~bits)

    def input(self, port: int) -> int:
        return self.ports.read(port, 1)

    def output(self, port: int, value: int) -> None:
        self.ports.write(port, 1, value & 0xFF)

    def cmos(self, index: int) -> int:
        self.output(0x70, index)
        return self.input(0x71)

    def set_cmos(self, index: int, value: int) -> None:
        self.output(0x70, index)
        self.output(0x71, value)


def linear(segment: int, offset: int) -> int:
    """Where segment:offset is in real mode."""
    return (segment << 4) + (offset & 0xFFFF)
