"""A virtio block device, ours and QEMU's, and a driver by either set of registers."""

import struct
from pathlib import Path
from typing import Any

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Line
from bt.devices.storage.virtio.virtio_blk import VirtioBlk
from bt.devices.storage.virtio.virtio_pci import MEMORY_BYTES, VirtioPciLegacy, VirtioPciModern, VirtioTransport
from bt.disks.disk import Disk
from bt.memory.bus import Bus
from bt.memory.ram import GuestRam
from tests.devices.board import pass_time
from tests.devices.storage.qtest import Qtest

PORTS, WINDOW = 0xC000, 0xFE000000
RING, HEADERS, DATA = 0x10000, 0x20000, 0x100000
NEXT, WRITE, INDIRECT = 1, 2, 4
FLUSH, CONFIG_WCE, INDIRECT_FEATURE, EVENT_INDEX, VERSION_1 = 1 << 9, 1 << 11, 1 << 28, 1 << 29, 1 << 32


class OurVirtio:
    def __init__(self, disk: Disk, ram: GuestRam | None = None) -> None:
        self.clock = VirtualClock()
        self.ram = ram or GuestRam(16 << 20)
        self.line = Line("INTA")
        self.device = VirtioBlk(self.clock, self.ram, disk, serial="S123")
        self.transport = VirtioTransport(self.device, self.line)
        self.ports = Bus("ports", 16)
        self.memory = Bus("memory", 32)
        self.ports.attach(VirtioPciLegacy(self.transport), PORTS, 0x80)
        self.memory.attach(VirtioPciModern(self.transport), WINDOW, MEMORY_BYTES)

    def inp(self, port: int, size: int) -> int:
        return self.ports.read(port, size)

    def out(self, port: int, size: int, value: int) -> None:
        self.ports.write(port, size, value)

    def load(self, address: int, size: int) -> int:
        return self.memory.read(address, size)

    def store(self, address: int, size: int, value: int) -> None:
        self.memory.write(address, size, value)

    def read(self, paddr: int, n: int) -> bytes:
        return self.ram.read(paddr, n)

    def write(self, paddr: int, data: bytes) -> None:
        self.ram.write(paddr, data)

    def step(self, ns: int) -> None:
        pass_time(self.clock, ns)

    def state(self) -> dict[str, Any]:
        return {"clock": self.clock.state(), "virtio": self.transport.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.clock.restore(state["clock"])
        self.transport.restore(state["virtio"])


def qemu_virtio(image: Path) -> Qtest:
    board = Qtest(
        *("-drive", f"if=none,id=d,format=raw,file={image}"),
        *("-device", "virtio-blk-pci,drive=d,addr=4,serial=S123,num-queues=1"),
    )
    board.pci_write(4, 0, 0x10, 4, PORTS)
    board.pci_write(4, 0, 0x20, 4, WINDOW)
    board.pci_write(4, 0, 0x24, 4, 0)
    board.pci_write(4, 0, 0x04, 2, 7)
    return board


class Virtio:
    """A driver: rings in memory at RING, one request at a time or several."""

    def __init__(self, board: OurVirtio | Qtest, modern: bool) -> None:
        self.board = board
        self.modern = modern
        self.used = 0
        self.available = 0
        self.next_descriptor = 0

    def start(self, features: int = 0, size: int | None = None) -> int:
        """Negotiate as far as possible; the status."""
        board = self.board
        for address in (RING, RING + 0x1000, RING + 0x2000):
            board.write(address, bytes(0x1000))
        if not self.modern:
            for status in (0, 1, 3):
                board.out(PORTS + 0x12, 1, status)
            board.out(PORTS + 4, 4, features & 0xFFFFFFFF)
            board.out(PORTS + 0xE, 2, 0)
            self.size = board.inp(PORTS + 0xC, 2)
            board.out(PORTS + 8, 4, RING >> 12)
            self.descriptors = RING
            self.driver_area = RING + 16 * self.size
            self.device_area = (self.driver_area + 6 + 2 * self.size + 4095) & ~4095
            board.out(PORTS + 0x12, 1, 7)
            return board.inp(PORTS + 0x12, 1)
        for status in (0, 1, 3):
            board.store(WINDOW + 0x14, 1, status)
        for half in (0, 1):
            board.store(WINDOW + 8, 4, half)
            board.store(WINDOW + 0xC, 4, (features | VERSION_1) >> 32 * half & 0xFFFFFFFF)
        board.store(WINDOW + 0x14, 1, 11)
        board.store(WINDOW + 0x16, 2, 0)
        if size:
            board.store(WINDOW + 0x18, 2, size)
        self.size = board.load(WINDOW + 0x18, 2)
        self.descriptors, self.driver_area, self.device_area = RING, RING + 0x1000, RING + 0x2000
        for offset, address in ((0x20, self.descriptors), (0x28, self.driver_area), (0x30, self.device_area)):
            board.store(WINDOW + offset, 4, address)
            board.store(WINDOW + offset + 4, 4, 0)
        board.store(WINDOW + 0x1C, 2, 1)
        board.store(WINDOW + 0x14, 1, 15)
        return board.load(WINDOW + 0x14, 1)

    def features(self) -> int:
        if not self.modern:
            return self.board.inp(PORTS, 4)
        found = 0
        for half in (0, 1):
            self.board.store(WINDOW, 4, half)
            found |= self.board.load(WINDOW + 4, 4) << 32 * half
        return found

    def config(self, offset: int, size: int) -> int:
        if self.modern:
            return self.board.load(WINDOW + 0x2000 + offset, size)
        return self.board.inp(PORTS + 0x14 + offset, size)

    def isr(self) -> int:
        return self.board.load(WINDOW + 0x1000, 1) if self.modern else self.board.inp(PORTS + 0x13, 1)

    def notify(self) -> None:
        if self.modern:
            self.board.store(WINDOW + 0x3000, 2, 0)
        else:
            self.board.out(PORTS + 0x10, 2, 0)

    def chain(self, pieces: list[tuple[int, int, int]], indirect: int = 0) -> int:
        """Descriptors (address, bytes, WRITE or 0), in the ring or in a table at `indirect`; the head."""
        head = self.next_descriptor
        if indirect:
            table = b"".join(
                struct.pack("<QIHH", address, n, flags | (NEXT if i + 1 < len(pieces) else 0), i + 1)
                for i, (address, n, flags) in enumerate(pieces)
            )
            self.board.write(indirect, table)
            self.board.write(self.descriptors + 16 * head, struct.pack("<QIHH", indirect, len(table), INDIRECT, 0))
            self.next_descriptor = (head + 1) % self.size
            return head
        for i, (address, n, flags) in enumerate(pieces):
            number = (head + i) % self.size
            more = NEXT if i + 1 < len(pieces) else 0
            entry = struct.pack("<QIHH", address, n, flags | more, (number + 1) % self.size)
            self.board.write(self.descriptors + 16 * number, entry)
        self.next_descriptor = (head + len(pieces)) % self.size
        return head

    def offer(self, head: int) -> None:
        self.board.write(self.driver_area + 4 + 2 * (self.available % self.size), struct.pack("<H", head))
        self.available = (self.available + 1) & 0xFFFF
        self.board.write(self.driver_area + 2, struct.pack("<H", self.available))

    def wait_used(self) -> tuple[int, int]:
        """The next used element: head and bytes written."""
        for _ in range(10_000):
            if int.from_bytes(self.board.read(self.device_area + 2, 2), "little") != self.used:
                break
            self.board.step(10_000)
        else:
            raise AssertionError("nothing was used")
        place = self.device_area + 4 + 8 * (self.used % self.size)
        self.used = (self.used + 1) & 0xFFFF
        head, written = struct.unpack("<II", self.board.read(place, 8))
        return head, written

    def request(
        self, kind: int, sector: int, pieces: list[tuple[int, int, int]], indirect: bool = False, slot: int = 0
    ) -> int:
        """Offer a request with data in `pieces`; its head. Header and status are at HEADERS, in a slot."""
        at = HEADERS + 32 * slot
        self.board.write(at, struct.pack("<IIQ", kind, 0, sector) + b"\xee")
        head = self.chain([(at, 16, 0), *pieces, (at + 16, 1, WRITE)], HEADERS + 0x8000 if indirect else 0)
        self.offer(head)
        return head

    def do(self, kind: int, sector: int, pieces: list[tuple[int, int, int]], indirect: bool = False) -> tuple[int, int]:
        """One request from beginning to end: status byte, bytes written."""
        head = self.request(kind, sector, pieces, indirect)
        self.notify()
        used, written = self.wait_used()
        assert used == head
        return self.board.read(HEADERS + 16, 1)[0], written
