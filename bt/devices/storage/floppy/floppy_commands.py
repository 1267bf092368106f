"""What the commands of the 82077AA do (data sheet 290166, section 6)."""

from __future__ import annotations

from enum import StrEnum, auto
from typing import TYPE_CHECKING

from bt.devices.storage.floppy.floppy_media import SECTOR_SIZE_CODE, FloppyDrive
from bt.disks.image import SECTOR_BYTES
from bt.disks.latency import REQUEST_NS, transfer_ns

if TYPE_CHECKING:
    from bt.devices.storage.floppy.floppy_controller import FloppyController

# status register 0
ABNORMAL, INVALID_COMMAND, READY_CHANGED, SEEK_END, EQUIPMENT_CHECK = 0x40, 0x80, 0xC0, 0x20, 0x10
END_OF_CYLINDER, DATA_ERROR, NO_DATA, NOT_WRITABLE, MISSING_MARK = 0x80, 0x20, 0x04, 0x02, 0x01  # status register 1
WRONG_CYLINDER = 0x10  # status register 2
WRITE_PROTECTED, TRACK_0, ALWAYS = 0x40, 0x10, 0x28  # status register 3

MULTI_TRACK = 0x80  # in a command's first byte
IMPLIED_SEEK = 0x40  # CONFIGURE
MOST_STEPS = 79  # of RECALIBRATE
ROTATION_NS = 200_000_000  # 300 turns a minute
LAST_CYLINDER = 85  # where a head cannot go on


class Phase(StrEnum):
    """What the controller is about; a data sheet's execution phase is several of them."""

    COMMAND = auto()  # idle, or some bytes of a command are there
    WAITING = auto()  # for the disk
    SEEKING = auto()
    TO_HOST = auto()
    FROM_HOST = auto()
    RESULT = auto()


class Command:
    """`length` bytes, the first of them included; `options` are bits of that which may be set."""

    def __init__(self, length: int, options: int = 0) -> None:
        self.length = length
        self.options = options

    def allows(self, first: int) -> bool:
        return not first & 0xE0 & ~self.options

    def execute(self, fdc: FloppyController) -> None:
        """All bytes are there."""
        raise NotImplementedError

    def moved(self, fdc: FloppyController, is_terminal: bool) -> None:
        """The host has taken or brought all that was offered, or terminal count came."""

    def done(self, fdc: FloppyController, error: OSError | None) -> None:
        """What was asked of the disk is done."""


class Invalid(Command):
    def execute(self, fdc: FloppyController) -> None:
        fdc.answer(INVALID_COMMAND)


class Transfer(Command):
    """READ DATA, and what it shares with WRITE DATA and VERIFY: which sectors, and how it ends."""

    writes = False

    def execute(self, fdc: FloppyController) -> None:
        fdc.head, fdc.sector, fdc.is_last = fdc.command[1] >> 2 & 1, fdc.command[4], False
        fdc.end_of_track = fdc.command[6]
        drive = fdc.drive
        if drive is not None and fdc.config & IMPLIED_SEEK:
            drive.step_to(fdc.command[2])
        self._next(fdc)

    def _next(self, fdc: FloppyController) -> None:
        """Go on with `fdc.sector` under `fdc.head`: as many sectors as follow on the track."""
        drive = fdc.drive
        command = fdc.command
        if drive is None or drive.disk is None or drive.geometry.rate != fdc.rate:
            self._finish(fdc, ABNORMAL, MISSING_MARK)
            return
        lba = drive.sector(fdc.head, fdc.sector)
        if command[2] != drive.cylinder:
            self._finish(fdc, ABNORMAL, NO_DATA, WRONG_CYLINDER)
        elif lba is None or command[5] != SECTOR_SIZE_CODE or command[3] != command[1] >> 2 & 1:
            self._finish(fdc, ABNORMAL, NO_DATA)
        elif self.writes and drive.disk.read_only:
            self._finish(fdc, ABNORMAL, NOT_WRITABLE)
        else:
            end = fdc.end_of_track
            last = min(end, drive.geometry.sectors) if end >= fdc.sector else drive.geometry.sectors
            fdc.first, fdc.sectors = lba, last - fdc.sector + 1
            self._start(fdc, drive)

    def _start(self, fdc: FloppyController, drive: FloppyDrive) -> None:
        stored = min(fdc.sectors, drive.stored(fdc.first))
        if stored:
            fdc.ask_disk(lambda port: port.read(fdc.first, stored))
        else:
            fdc.ask_disk(lambda port: port.wait(transfer_ns(fdc.sectors)))

    def done(self, fdc: FloppyController, error: OSError | None) -> None:
        if error is not None:
            self._finish(fdc, ABNORMAL, DATA_ERROR)
            return
        n = fdc.sectors * SECTOR_BYTES
        drive = fdc.drive
        data = fdc.port.data if drive is not None and drive.stored(fdc.first) else b""
        fdc.buffer[:n] = data.ljust(n, b"\0")
        fdc.to_host(n)

    def moved(self, fdc: FloppyController, is_terminal: bool) -> None:
        fdc.sector += -(-fdc.position // SECTOR_BYTES)
        self._go_on(fdc, is_terminal)

    def _go_on(self, fdc: FloppyController, is_last: bool) -> None:
        """`fdc.sector` is that after the last one done."""
        if is_last:
            self._finish(fdc, 0)
        elif fdc.sector != fdc.end_of_track + 1:
            self._next(fdc)
        elif fdc.command[0] & MULTI_TRACK and not fdc.head:
            fdc.command[1] |= 4
            fdc.command[3] = fdc.head = fdc.sector = 1
            self._next(fdc)
        else:
            self._finish(fdc, ABNORMAL, END_OF_CYLINDER)

    def _finish(self, fdc: FloppyController, status0: int, status1: int = 0, status2: int = 0) -> None:
        """The result phase; the address is that of the next sector (table 6-4), or of the one that failed."""
        cylinder, head, sector = fdc.command[2], fdc.command[3], fdc.sector
        at_end = sector == fdc.end_of_track + 1 and (not status1 or status1 == END_OF_CYLINDER)
        if at_end:
            sector = 1
            if fdc.command[0] & MULTI_TRACK:
                cylinder += head & 1
                head ^= 1
            else:
                cylinder += 1
        unit = fdc.command[1] & 7
        result = (status0 | unit, status1, status2, cylinder & 0xFF, head, sector, fdc.command[5])
        fdc.answer(*result, interrupt=True)


class Verify(Transfer):
    """VERIFY: reads and moves nothing; with EC set, the number of sectors is in the last byte."""

    def execute(self, fdc: FloppyController) -> None:
        fdc.left = fdc.command[8] if fdc.command[1] & 0x80 else 0
        super().execute(fdc)

    def done(self, fdc: FloppyController, error: OSError | None) -> None:
        if error is not None:
            self._finish(fdc, ABNORMAL, DATA_ERROR)
            return
        counts = bool(fdc.command[1] & 0x80)
        n = min(fdc.sectors, fdc.left) if counts else fdc.sectors
        fdc.sector += n
        fdc.left -= n if counts else 0
        is_multi = fdc.command[0] & MULTI_TRACK and not fdc.head
        is_last = fdc.left == 0 if counts else fdc.sector == fdc.end_of_track + 1 and not is_multi
        self._go_on(fdc, is_last)


class WriteData(Transfer):
    writes = True

    def _start(self, fdc: FloppyController, drive: FloppyDrive) -> None:
        fdc.from_host(fdc.sectors * SECTOR_BYTES)

    def moved(self, fdc: FloppyController, is_terminal: bool) -> None:
        fdc.is_last = is_terminal
        n = fdc.position
        fdc.sectors = -(-n // SECTOR_BYTES)
        whole = fdc.sectors * SECTOR_BYTES
        fdc.buffer[n:whole] = bytes(whole - n)
        drive = fdc.drive
        if drive is None or drive.disk is None or drive.stored(fdc.first) < fdc.sectors:
            self._finish(fdc, ABNORMAL, NO_DATA)  # taken out, or the image ends before the diskette does
        else:
            data = bytes(memoryview(fdc.buffer)[:whole])
            fdc.ask_disk(lambda port: port.write(fdc.first, data))

    def done(self, fdc: FloppyController, error: OSError | None) -> None:
        if error is not None:
            self._finish(fdc, ABNORMAL, DATA_ERROR)
            return
        fdc.sector += fdc.sectors
        self._go_on(fdc, fdc.is_last)


class FormatTrack(Transfer):
    """FORMAT TRACK: addresses (C, H, R, N) come from the host; sectors that the geometry has are filled."""

    def execute(self, fdc: FloppyController) -> None:
        drive = fdc.drive
        fdc.head, fdc.sector, fdc.end_of_track = fdc.command[1] >> 2 & 1, 1, fdc.command[3]
        if drive is None or drive.disk is None or drive.geometry.rate != fdc.rate:
            self._finish(fdc, ABNORMAL, MISSING_MARK)
        elif drive.disk.read_only:
            self._finish(fdc, ABNORMAL, NOT_WRITABLE)
        elif fdc.end_of_track == 0 or fdc.command[2] != SECTOR_SIZE_CODE:
            self._finish(fdc, ABNORMAL, NO_DATA)
        else:
            fdc.from_host(4 * fdc.end_of_track)

    def moved(self, fdc: FloppyController, is_terminal: bool) -> None:
        fdc.to_fill = []
        for at in range(0, fdc.position - 3, 4):
            cylinder, head, number, _ = fdc.buffer[at : at + 4]
            drive = fdc.drive
            lba = drive.sector(fdc.head, number) if drive is not None else None
            if lba is not None and drive is not None and (cylinder, head) == (drive.cylinder, fdc.head):
                fdc.to_fill += [lba] if drive.stored(lba) else []
        self._fill(fdc)

    def _fill(self, fdc: FloppyController) -> None:
        """One run of neighbours after the other."""
        if not fdc.to_fill or fdc.drive is None or fdc.drive.disk is None:
            fdc.sector = fdc.end_of_track
            self._finish(fdc, 0)
            return
        first = fdc.to_fill.pop(0)
        count = 1
        while fdc.to_fill and fdc.to_fill[0] == first + count:
            fdc.to_fill.pop(0)
            count += 1
        data = bytes([fdc.command[5]]) * (count * SECTOR_BYTES)
        fdc.ask_disk(lambda port: port.write(first, data))

    def done(self, fdc: FloppyController, error: OSError | None) -> None:
        if error is not None:
            self._finish(fdc, ABNORMAL, DATA_ERROR)
        else:
            self._fill(fdc)

    def _finish(self, fdc: FloppyController, status0: int, status1: int = 0, status2: int = 0) -> None:
        drive = fdc.drive  # "in this case, the ID information has no meaning"
        cylinder = drive.cylinder if drive is not None else 0
        result = (status0 | fdc.command[1] & 7, status1, status2, cylinder, fdc.head, fdc.sector, fdc.command[2])
        fdc.answer(*result, interrupt=True)


class ReadId(Command):
    """READ ID: whichever sector comes by next, by the time."""

    def execute(self, fdc: FloppyController) -> None:
        fdc.ask_disk(lambda port: port.wait(REQUEST_NS))

    def done(self, fdc: FloppyController, error: OSError | None) -> None:
        drive = fdc.drive
        unit = fdc.command[1] & 7
        head = unit >> 2
        is_there = drive is not None and drive.disk is not None and drive.geometry.rate == fdc.rate
        if drive is None or not is_there or drive.sector(head, 1) is None:
            cylinder = drive.cylinder if drive is not None else 0
            fdc.answer(ABNORMAL | unit, MISSING_MARK, 0, cylinder, head, 1, SECTOR_SIZE_CODE, interrupt=True)
            return
        sectors = drive.geometry.sectors
        sector = fdc.clock.now_ns % ROTATION_NS * sectors // ROTATION_NS + 1
        fdc.answer(unit, 0, 0, drive.cylinder, head, sector, SECTOR_SIZE_CODE, interrupt=True)


class Seek(Command):
    """SEEK, and RELATIVE SEEK with bit 7 set (bit 6: inwards)."""

    def execute(self, fdc: FloppyController) -> None:
        fdc.ask_disk(lambda port: port.wait(REQUEST_NS), Phase.SEEKING)

    def done(self, fdc: FloppyController, error: OSError | None) -> None:
        drive = fdc.drive
        first, target = fdc.command[0], fdc.command[2]
        if drive is not None:
            if first & 0x80:
                target = drive.cylinder + target if first & 0x40 else drive.cylinder - target
            drive.step_to(max(0, min(target, LAST_CYLINDER)))
        self._end(fdc, SEEK_END | fdc.command[1] & 7)

    def _end(self, fdc: FloppyController, status0: int) -> None:
        drive = fdc.drive
        fdc.seeked.append([status0, drive.cylinder if drive is not None else 0])
        fdc.answer(interrupt=True)


class Recalibrate(Seek):
    def done(self, fdc: FloppyController, error: OSError | None) -> None:
        drive = fdc.drive
        unit = fdc.command[1] & 3
        if drive is not None:
            drive.step_to(max(0, drive.cylinder - MOST_STEPS))
        failed = drive is None or drive.cylinder != 0
        self._end(fdc, SEEK_END | unit | (ABNORMAL | EQUIPMENT_CHECK if failed else 0))


class SenseInterrupt(Command):
    """SENSE INTERRUPT STATUS: of seeks that ended, and of drives polled after a reset; otherwise it is invalid."""

    def execute(self, fdc: FloppyController) -> None:
        if fdc.reset_senses:
            number = 4 - fdc.reset_senses
            fdc.reset_senses -= 1
            drive = fdc.drives[number] if number < len(fdc.drives) else None
            answer = [READY_CHANGED | number, drive.cylinder if drive is not None else 0]
        elif fdc.seeked:
            answer = fdc.seeked.pop(0)
        else:
            answer = [INVALID_COMMAND]
        fdc.answer(*answer)
        fdc.interrupt(False)


class Specify(Command):
    def execute(self, fdc: FloppyController) -> None:
        fdc.step_head, fdc.load_mode = fdc.command[1:]
        fdc.answer()


class SenseDrive(Command):
    def execute(self, fdc: FloppyController) -> None:
        drive = fdc.drive
        status = ALWAYS | fdc.command[1] & 7
        if drive is not None:
            status |= TRACK_0 if drive.cylinder == 0 else 0
            status |= WRITE_PROTECTED if drive.disk is not None and drive.disk.read_only else 0
        fdc.answer(status)


class Configure(Command):
    def execute(self, fdc: FloppyController) -> None:
        fdc.config, fdc.precompensation = fdc.command[2:]
        fdc.answer()


class DumpRegisters(Command):
    def execute(self, fdc: FloppyController) -> None:
        cylinders = [drive.cylinder for drive in fdc.drives]
        cylinders += [0] * (4 - len(cylinders))
        modes = (fdc.is_locked << 7) | fdc.perpendicular & 0x3F
        fdc.answer(*cylinders, fdc.step_head, fdc.load_mode, fdc.end_of_track, modes, fdc.config, fdc.precompensation)


class Version(Command):
    def execute(self, fdc: FloppyController) -> None:
        fdc.answer(0x90)  # an enhanced controller


class Lock(Command):
    """LOCK with bit 7 set, or UNLOCK: whether CONFIGURE's settings outlast a software reset."""

    def execute(self, fdc: FloppyController) -> None:
        fdc.is_locked = bool(fdc.command[0] & 0x80)
        fdc.answer(fdc.is_locked << 4)


class Perpendicular(Command):
    def execute(self, fdc: FloppyController) -> None:
        value = fdc.command[1]
        fdc.perpendicular = value & 0x3F if value & 0x80 else fdc.perpendicular & 0x3C | value & 3  # OW
        fdc.answer()


INVALID = Invalid(1)
COMMANDS: dict[int, Command] = {  # by the low five bits of the first byte; options are MT, MFM, SK
    0x03: Specify(3),
    0x04: SenseDrive(2),
    0x05: WriteData(9, 0xC0),
    0x06: Transfer(9, 0xE0),
    0x07: Recalibrate(2),
    0x08: SenseInterrupt(1),
    0x0A: ReadId(2, 0x40),
    0x0D: FormatTrack(6, 0x40),
    0x0E: DumpRegisters(1),
    0x0F: Seek(3, 0xC0),
    0x10: Version(1),
    0x12: Perpendicular(2),
    0x13: Configure(4),
    0x14: Lock(1, 0x80),
    0x16: Verify(9, 0xE0),
}
