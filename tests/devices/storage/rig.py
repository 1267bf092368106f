"""Two IDE channels with their disks, ours and QEMU's behind the same ports, and a driver that knows the protocols."""

from pathlib import Path
from typing import Any, Protocol

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Line
from bt.devices.storage.ata.ata_disk import AtaDisk
from bt.devices.storage.ata.atapi_cdrom import AtapiCdrom
from bt.devices.storage.ata.bus_master_ide import BusMasterIde
from bt.devices.storage.ata.ide_channel import IdeChannel
from bt.disks.disk import Disk, open_disk
from bt.memory.bus import Bus
from bt.memory.ram import GuestRam
from tests.devices.board import pass_time
from tests.devices.storage.qtest import Qtest

BUS_MASTER = 0xC000
COMMAND_BLOCKS, CONTROL_BLOCKS = (0x1F0, 0x170), (0x3F6, 0x376)
BUSY, DRQ, ERR = 0x80, 0x08, 0x01


class Board(Protocol):
    """What a driver sees of a machine."""

    @property
    def irq(self) -> set[int]: ...
    def inp(self, port: int, size: int) -> int: ...
    def out(self, port: int, size: int, value: int) -> None: ...
    def read(self, paddr: int, n: int) -> bytes: ...
    def write(self, paddr: int, data: bytes) -> None: ...
    def step(self, ns: int) -> None: ...


class Ours:
    """The primary channel has `disk` and a CD-ROM, the secondary one a small disk or nothing."""

    def __init__(self, disk: Disk, cd: Disk | None = None, second: Disk | None = None) -> None:
        self.clock = VirtualClock()
        self.ports = Bus("ports", 16)
        self.ram = GuestRam(16 << 20)
        self.lines = [Line("IRQ 14"), Line("IRQ 15")]
        self.channels = [IdeChannel(line) for line in self.lines]
        self.hard_disk = AtaDisk(self.clock, disk)
        self.cdrom = AtapiCdrom(self.clock, cd)
        self.disks = [disk, cd, second]
        self.channels[0].connect(self.hard_disk, 0)
        self.channels[0].connect(self.cdrom, 1)
        if second is not None:
            self.channels[1].connect(AtaDisk(self.clock, second), 0)
        self.masters = []
        for number, channel in enumerate(self.channels):
            self.ports.attach(channel, COMMAND_BLOCKS[number], 8)
            self.ports.attach(channel, CONTROL_BLOCKS[number], 1, 8)
            master = BusMasterIde(self.ram, self.lines[number], channel.pump_dma)
            channel.connect_dma(master)
            self.ports.attach(master, BUS_MASTER + 8 * number, 8)
            self.masters.append(master)

    @property
    def irq(self) -> set[int]:
        return {14 + number for number, line in enumerate(self.lines) if line.level}

    def inp(self, port: int, size: int) -> int:
        self.step(1000)
        return self.ports.read(port, size)

    def out(self, port: int, size: int, value: int) -> None:
        self.ports.write(port, size, value)

    def read(self, paddr: int, n: int) -> bytes:
        return self.ram.read(paddr, n)

    def write(self, paddr: int, data: bytes) -> None:
        self.ram.write(paddr, data)

    def close(self) -> None:
        for disk in self.disks:
            if disk is not None:
                disk.close()

    def state(self) -> dict[str, Any]:
        return {
            "clock": self.clock.state(),
            "channels": [channel.state() for channel in self.channels],
            "masters": [master.state() for master in self.masters],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.clock.restore(state["clock"])
        for channel, fields in zip(self.channels, state["channels"], strict=True):
            channel.restore(fields)
        for master, fields in zip(self.masters, state["masters"], strict=True):
            master.restore(fields)

    def step(self, ns: int) -> None:
        pass_time(self.clock, ns)


def qemu_board(disk: Path, cd: Path, second: Path) -> Qtest:
    arguments = [f"if=ide,index={n},format=raw,file={p}" for n, p in ((0, disk), (2, second))]
    arguments.append(f"if=ide,index=1,media=cdrom,format=raw,file={cd}")
    board = Qtest(*(word for argument in arguments for word in ("-drive", argument)))
    board.watch_irqs()
    board.pci_write(1, 1, 0x20, 4, BUS_MASTER | 1)
    board.pci_write(1, 1, 0x04, 2, 5)  # IO, bus master
    return board


class Ide:
    """A driver: registers of one channel by name, commands by protocol."""

    def __init__(self, board: Board, channel: int = 0) -> None:
        self.board = board
        self.base, self.control = COMMAND_BLOCKS[channel], CONTROL_BLOCKS[channel]
        self.master = BUS_MASTER + 8 * channel
        self.line = 14 + channel

    def reg(self, offset: int) -> int:
        return self.board.inp(self.base + offset, 1)

    def set(self, offset: int, value: int) -> None:
        self.board.out(self.base + offset, 1, value)

    @property
    def alternate(self) -> int:
        return self.board.inp(self.control, 1)

    @property
    def interrupting(self) -> bool:
        self.board.inp(0x80, 1)  # so that interrupts are reported
        return self.line in self.board.irq

    def settle(self) -> int:
        """Wait while busy; the alternate status."""
        for _ in range(100_000):
            if not (status := self.alternate) & BUSY:
                return status
        raise AssertionError("busy for good")

    def registers(self) -> list[int]:
        return [self.reg(offset) for offset in range(1, 7)]

    def command(
        self, command: int, lba: int = 0, count: int = 0, features: int = 0, device: int = 0xE0, wide: bool = False
    ) -> int:
        """Write the task file and the command; the status when no longer busy."""
        self.set(6, device if wide else device | lba >> 24 & 0xF)
        if wide:
            for offset, value in ((1, features >> 8), (2, count >> 8), (3, lba >> 24), (4, lba >> 32), (5, lba >> 40)):
                self.set(offset, value & 0xFF)
        for offset, value in ((1, features), (2, count), (3, lba), (4, lba >> 8), (5, lba >> 16)):
            self.set(offset, value & 0xFF)
        self.set(7, command)
        return self.settle()

    def words_in(self, n: int) -> bytes:
        return b"".join(self.board.inp(self.base, 2).to_bytes(2, "little") for _ in range(n))

    def words_out(self, data: bytes) -> None:
        for at in range(0, len(data), 2):
            self.board.out(self.base, 2, int.from_bytes(data[at : at + 2], "little"))

    def read(self, command: int, lba: int, count: int, block: int = 1, wide: bool = False) -> bytes:
        """PIO data-in; fails on errors."""
        status = self.command(command, lba, count, wide=wide)
        data = b""
        left = count or (65536 if wide else 256)
        while left:
            assert status & (DRQ | ERR) == DRQ, hex(status)
            assert self.interrupting
            self.reg(7)
            assert not self.interrupting
            n = min(left, block)
            data += self.words_in(256 * n)
            left -= n
            status = self.settle()
        assert not status & (DRQ | ERR)
        return data

    def write(self, command: int, lba: int, data: bytes, block: int = 1, wide: bool = False) -> None:
        status = self.command(command, lba, len(data) // 512 & (0xFFFF if wide else 0xFF), wide=wide)
        for at in range(0, len(data), 512 * block):
            assert status & (DRQ | ERR) == DRQ, hex(status)
            self.words_out(data[at : at + 512 * block])
            status = self.settle()
            assert self.interrupting
            self.reg(7)
        assert not status & (DRQ | ERR)

    def packet(self, packet: bytes, limit: int = 0xFFFE, dma: bool = False) -> tuple[int, int, list[int], bytes]:
        """A packet command of the slave; status, error, byte counts of the blocks, the data."""
        self.set(6, 0xB0)
        self.set(1, int(dma))
        self.set(4, limit & 0xFF)
        self.set(5, limit >> 8)
        self.set(7, 0xA0)
        status = self.settle()
        if status & ERR:
            return status, self.reg(1), [], b""
        assert self.reg(2) & 3 == 1
        self.words_out(packet.ljust(12, b"\0"))
        blocks, data = [], b""
        status = self.settle()
        while status & DRQ and not dma:
            assert self.reg(2) & 3 == 2
            n = self.reg(4) | self.reg(5) << 8
            blocks.append(n)
            data += self.words_in((n + 1) // 2)[:n]
            status = self.settle()
        return status, self.reg(1), blocks, data

    def dma(self, table: list[tuple[int, int]], to_memory: bool, at: int = 0x1000) -> None:
        """Set the bus master up with regions (address, bytes)."""
        entries = b"".join(
            address.to_bytes(4, "little")
            + (n & 0xFFFF).to_bytes(2, "little")
            + bytes([0, 0x80 * (i == len(table) - 1)])
            for i, (address, n) in enumerate(table)
        )
        self.board.write(at, entries)
        self.board.out(self.master, 1, 0)
        self.board.out(self.master + 2, 1, 6)
        self.board.out(self.master + 4, 4, at)
        self.board.out(self.master, 1, 8 * to_memory)

    def start(self, to_memory: bool) -> int:
        """Start the bus master, wait for the interrupt or the end of all activity; its status."""
        self.board.out(self.master, 1, 8 * to_memory | 1)
        for _ in range(10_000):
            status = self.board.inp(self.master + 2, 1)
            if status & 4 or not status & 1:
                break
        return status


def make_image(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def open_rig(disk: Path, cd: Path | None = None, second: Path | None = None) -> Ours:
    return Ours(
        open_disk(str(disk)),
        open_disk(str(cd), read_only=True) if cd else None,
        open_disk(str(second)) if second else None,
    )
