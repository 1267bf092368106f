"""Diskettes for INT 13h: the controller's commands one after the other, data by DMA (Intel 82077AA, 290166)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin.disks.transfer import (
    BAD_PARAMETER,
    CONTROLLER_FAILED,
    DATA_ERROR,
    DMA_BOUNDARY,
    GOOD,
    SECTOR,
    SECTOR_NOT_FOUND,
    SEEK_FAILED,
    TIMED_OUT,
    WRITE_PROTECTED,
)
from bt.firmware.builtin.pc import Pc

OUTPUT, STATUS, FIFO, RATE = 0x3F2, 0x3F4, 0x3F5, 0x3F7
NOT_RESET, RUNNING, MOTOR = 0x04, 0x0C, 0x10  # not reset, DMA and interrupts; the motor of drive 0
REQUEST, TO_HOST, BUSY = 0x80, 0x40, 0x10
SPECIFY, SEEK, RECALIBRATE, SENSE, READ, WRITE, FORMAT = 0x03, 0x0F, 0x07, 0x08, 0xE6, 0xC5, 0x4D
VERIFY_MODE, READ_MODE, WRITE_MODE = 0x42, 0x46, 0x4A  # of DMA channel 2
ABNORMAL, SEEK_END = 0xC0, 0x20
MOTOR_TICKS = 37  # two seconds
GAP, SIZE_CODE = 0x1B, 2
RESULT_BYTES = 7
DMA_MASK, DMA_MODE, DMA_CLEAR, DMA_ADDRESS, DMA_COUNT, DMA_PAGE = 0x0A, 0x0B, 0x0C, 0x04, 0x05, 0x81


@dataclass(frozen=True)
class Format:
    """What a drive's diskettes are: cylinders and sectors a track on two sides, the data rate's code."""

    cylinders: int
    sectors: int
    rate: int
    media: int  # state of the drive at 0490h: rate, double step, established


# by the drive's type as CMOS has it
FORMATS = {
    1: Format(40, 9, 2, 0x93),
    2: Format(80, 15, 0, 0x15),
    3: Format(80, 9, 2, 0x97),
    4: Format(80, 18, 0, 0x17),
    5: Format(80, 36, 3, 0xD7),
}


@dataclass
class FloppyTransfer:
    """`stage` counts commands: what is to be waited for, and what comes next."""

    owner: int
    drive: int
    kind: int
    cylinder: int
    head: int
    sector: int
    count: int
    address: int
    command: str = "read"  # or write, verify, format
    fill: int = 0
    stage: int = 0
    waits: bool = False

    @property
    def done_sectors(self) -> int:
        """A diskette's all are, or none."""
        return 0

    def state(self) -> dict[str, Any]:
        return {"medium": "floppy"} | asdict(self)

    def abandon(self, pc: Pc) -> None:
        reset(pc)

    def step(self, pc: Pc) -> int | None:
        self.waits = False
        if self.stage == 0:
            return self._begin(pc)
        status = pc.input(STATUS)
        if not status & REQUEST or status & 0x0F:
            self.waits = True
            return None
        if self.stage in (1, 2):
            return self._arrived(pc)
        if not status & TO_HOST:
            return TIMED_OUT
        return self._result(pc)

    def _begin(self, pc: Pc) -> int | None:
        form = FORMATS[self.kind]
        n = self._bytes()
        if self.command != "verify" and (self.address & 0xFFFF) + n > 0x10000:
            return DMA_BOUNDARY
        if not pc.input(OUTPUT) & NOT_RESET or pc.input(STATUS) & (TO_HOST | BUSY):
            reset(pc)
        start_motor(pc, self.drive)
        pc.output(RATE, form.rate)
        pc.put_byte(area.FLOPPY_RATE, form.rate << 6)
        _command(pc, SPECIFY, *pc.read(_diskette_table(pc), 2))
        if not pc.byte(area.FLOPPY_RECALIBRATED) >> self.drive & 1:
            _command(pc, RECALIBRATE, self.drive)
            self.stage = 1
        else:
            self._seek(pc)
        self.waits = True
        return None

    def _bytes(self) -> int:
        return 4 * FORMATS[self.kind].sectors if self.command == "format" else self.count * SECTOR

    def _seek(self, pc: Pc) -> None:
        _command(pc, SEEK, self.head << 2 | self.drive, self.cylinder)
        self.stage = 2

    def _arrived(self, pc: Pc) -> int | None:
        status, cylinder = sense(pc)
        if status & ABNORMAL or not status & SEEK_END:
            return SEEK_FAILED
        if self.stage == 1:
            pc.set_bits(area.FLOPPY_RECALIBRATED, 1 << self.drive, True)
            self._seek(pc)
        else:
            pc.put_byte(area.FLOPPY_CYLINDERS + self.drive, cylinder)
            self._move(pc)
            self.stage = 3
        self.waits = True
        return None

    def _move(self, pc: Pc) -> None:
        form = FORMATS[self.kind]
        writes = self.command in ("write", "format")
        set_up_dma(pc, self.address, self._bytes(), WRITE_MODE if writes else _READ_MODES[self.command])
        unit = self.head << 2 | self.drive
        if self.command == "format":
            _command(pc, FORMAT, unit, SIZE_CODE, form.sectors, 0x50, self.fill)
        else:
            _command(pc, WRITE if writes else READ, unit, self.cylinder, self.head, self.sector, SIZE_CODE,
                     form.sectors, GAP, 0xFF)  # fmt: skip

    def _result(self, pc: Pc) -> int:
        result = bytes(pc.input(FIFO) for _ in range(RESULT_BYTES))
        pc.write(area.FLOPPY_RESULT, result)
        pc.put_byte(area.FLOPPY_MEDIA + self.drive, FORMATS[self.kind].media)
        if not result[0] & ABNORMAL:
            return GOOD
        for status, bit, code in (
            (result[1], 0x80, BAD_PARAMETER if self.sector > FORMATS[self.kind].sectors else SECTOR_NOT_FOUND),
            (result[1], 0x20, DATA_ERROR),
            (result[1], 0x04, SECTOR_NOT_FOUND),
            (result[1], 0x02, WRITE_PROTECTED),
            (result[1], 0x01, TIMED_OUT),  # as of a drive without a diskette
        ):
            if status & bit:
                return code
        return CONTROLLER_FAILED


_READ_MODES = {"read": READ_MODE, "verify": VERIFY_MODE}


def _diskette_table(pc: Pc) -> int:
    vector = 4 * area.DISKETTE_TABLE_VECTOR
    return (pc.word(vector + 2) << 4) + pc.word(vector)


def _command(pc: Pc, *parts: int) -> None:
    for part in parts:
        pc.output(FIFO, part)


def sense(pc: Pc) -> tuple[int, int]:
    """SENSE INTERRUPT STATUS: status 0 and cylinder."""
    _command(pc, SENSE)
    status = pc.input(FIFO)
    return status, pc.input(FIFO) if pc.input(STATUS) & TO_HOST else 0


def start_motor(pc: Pc, drive: int) -> None:
    pc.output(OUTPUT, RUNNING | MOTOR << drive | drive)
    pc.put_byte(area.FLOPPY_MOTORS, 1 << drive)
    pc.put_byte(area.FLOPPY_MOTOR_TICKS, MOTOR_TICKS)


def reset(pc: Pc) -> None:
    """The controller starts again, and tells of its four drives; all have to be recalibrated."""
    pc.output(OUTPUT, RUNNING & ~NOT_RESET)
    pc.output(OUTPUT, RUNNING)
    for _ in range(4):
        sense(pc)
    pc.put_byte(area.FLOPPY_RECALIBRATED, 0)


def set_up_dma(pc: Pc, address: int, n: int, mode: int) -> None:
    pc.output(DMA_MASK, 0x06)
    pc.output(DMA_CLEAR, 0)
    pc.output(DMA_MODE, mode)
    for port, value in ((DMA_ADDRESS, address & 0xFFFF), (DMA_COUNT, n - 1 & 0xFFFF)):
        pc.output(port, value & 0xFF)
        pc.output(port, value >> 8)
    pc.output(DMA_PAGE, address >> 16 & 0xFF)
    pc.output(DMA_MASK, 0x02)


def has_changed(pc: Pc, drive: int) -> bool:
    """The disk change line, with the motor on."""
    start_motor(pc, drive)
    return bool(pc.input(RATE) & 0x80)
