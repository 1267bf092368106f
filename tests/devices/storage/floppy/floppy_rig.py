"""A floppy controller with its DMA, ours and QEMU's, and a driver that knows its phases."""

from pathlib import Path
from typing import Any

from bt.clock.virtual_clock import VirtualClock
from bt.devices.chipset.dma8237 import PAGES, SECOND, Dma8237Pair
from bt.devices.device import Line
from bt.devices.storage.floppy.floppy_controller import FloppyController
from bt.devices.storage.floppy.floppy_media import FloppyDrive
from bt.disks.disk import Disk
from bt.memory.bus import Bus
from bt.memory.ram import GuestRam
from tests.devices.board import pass_time
from tests.devices.storage.qtest import Qtest
from tests.devices.storage.rig import Board

RQM, DIO, NON_DMA, BUSY = 0x80, 0x40, 0x20, 0x10
MFM = 0x40


class OurFloppy:
    def __init__(self, *disks: Disk | None) -> None:
        self.clock = VirtualClock()
        self.ram = GuestRam(16 << 20)
        self.ports = Bus("ports", 16)
        self.line = Line("IRQ 6")
        self.dma = Dma8237Pair(self.ram)
        self.drives = [FloppyDrive(disk) for disk in disks]
        self.fdc = FloppyController(self.clock, self.line, self.dma, self.drives)
        self.dma.connect(2, self.fdc)
        self.ports.attach(self.dma, 0x00, 16)
        self.ports.attach(self.dma, 0xC0, 32, SECOND)
        self.ports.attach(self.dma, 0x81, 15, PAGES + 1)
        self.ports.attach(self.fdc, 0x3F0, 6)
        self.ports.attach(self.fdc, 0x3F7, 1, 7)

    @property
    def irq(self) -> set[int]:
        return {6} if self.line.level else set()

    def inp(self, port: int, size: int) -> int:
        self.step(1000)
        return self.ports.read(port, size)

    def out(self, port: int, size: int, value: int) -> None:
        self.ports.write(port, size, value)

    def read(self, paddr: int, n: int) -> bytes:
        return self.ram.read(paddr, n)

    def write(self, paddr: int, data: bytes) -> None:
        self.ram.write(paddr, data)

    def step(self, ns: int) -> None:
        pass_time(self.clock, ns)

    def state(self) -> dict[str, Any]:
        return {"clock": self.clock.state(), "dma": self.dma.state(), "fdc": self.fdc.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.clock.restore(state["clock"])
        self.dma.restore(state["dma"])
        self.fdc.restore(state["fdc"])


def qemu_floppy(image: Path | None) -> Qtest:
    drive = ["-drive", f"if=floppy,index=0,format=raw,file={image}"] if image else []
    board = Qtest(*drive)
    board.watch_irqs()
    return board


class Floppy:
    """A driver of drive 0 (or another)."""

    def __init__(self, board: Board, unit: int = 0) -> None:
        self.board = board
        self.unit = unit

    def msr(self) -> int:
        return self.board.inp(0x3F4, 1)

    @property
    def interrupting(self) -> bool:
        self.board.inp(0x84, 1)
        return 6 in self.board.irq

    def wait(self) -> int:
        for _ in range(10_000):
            if (msr := self.msr()) & RQM:
                return msr
        raise AssertionError("no request for master")

    def send(self, *values: int) -> None:
        for value in values:
            msr = self.wait()
            assert not msr & DIO, hex(msr)
            self.board.out(0x3F5, 1, value)

    def results(self) -> list[int]:
        found = []
        while self.wait() & (DIO | BUSY) == DIO | BUSY:
            found.append(self.board.inp(0x3F5, 1))
        return found

    def command(self, *values: int) -> list[int]:
        self.send(*values)
        return self.results()

    def reset(self, dma: bool = True) -> list[list[int]]:
        self.board.out(0x3F2, 1, 0)
        self.board.out(0x3F2, 1, 0x1C | self.unit if self.unit == 0 else 0x2C | self.unit)
        senses = [self.command(8) for _ in range(4)]
        self.command(3, 0xAF, 0x02 if dma else 0x03)
        self.board.out(0x3F7, 1, 0)
        # the cascade, for both controllers
        self.board.out(0xD6, 1, 0xC0)
        self.board.out(0xD4, 1, 0)
        return senses

    def wait_interrupt(self) -> None:
        for _ in range(10_000):
            if self.interrupting:
                return
            self.board.step(1_000_000)
        raise AssertionError("no interrupt")

    def seek(self, cylinder: int, head: int = 0) -> list[int]:
        self.send(0x0F, head << 2 | self.unit, cylinder)
        self.wait_interrupt()
        return self.command(8)

    def recalibrate(self) -> list[int]:
        self.send(0x07, self.unit)
        self.wait_interrupt()
        return self.command(8)

    def set_dma(self, address: int, n: int, mode: int) -> None:
        out = self.board.out
        out(0x0A, 1, 6)
        out(0x0C, 1, 0)
        out(0x0B, 1, mode | 2)
        for port, value in ((4, address), (5, n - 1)):
            out(port, 1, value & 0xFF)
            out(port, 1, value >> 8 & 0xFF)
        out(0x81, 1, address >> 16)
        out(0x0A, 1, 2)

    def transfer(self, command: int, c: int, h: int, r: int, eot: int, n: int = 2) -> list[int]:
        self.send(command, h << 2 | self.unit, c, h, r, n, eot, 0x1B, 0xFF)
        self.wait_interrupt()
        return self.results()
