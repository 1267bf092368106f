"""The diskette controller: Intel 82077AA (data sheet 290166), in the PC/AT's mode."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Device, Line
from bt.devices.storage.disk_port import DiskPort, Post
from bt.devices.storage.floppy.floppy_commands import COMMANDS, INVALID, Phase
from bt.devices.storage.floppy.floppy_media import FloppyDrive
from bt.disks.image import SECTOR_BYTES

DIGITAL_OUTPUT, TAPE_DRIVE, MAIN_STATUS, FIFO, DIGITAL_INPUT = 2, 3, 4, 5, 7
RATE_SELECT, CONFIGURATION_CONTROL = MAIN_STATUS, DIGITAL_INPUT  # written
UNUSED = 0xFF  # status registers A and B are the PS/2's, and offset 6 is the fixed disk's

NOT_RESET, DMA_GATE = 0x04, 0x08  # digital output register
REQUEST_FOR_MASTER, TO_HOST, NON_DMA, COMMAND_BUSY = 0x80, 0x40, 0x20, 0x10  # main status register
SOFTWARE_RESET = 0x80  # data rate select register
DISK_CHANGE = 0x80

DMA_CHANNEL = 2
# no FIFO, polling on, threshold one byte; and, unlike the data sheet but like QEMU, implied seeks: there are drivers
# that were only ever run there and forget to seek
CONFIGURED_AFTER_RESET = 0x60


class Dma(Protocol):
    """Where DREQ goes (bt/devices/chipset/dma8237.py)."""

    def request(self, channel: int, level: bool) -> None: ...


class FloppyController(Device):
    """Registers, interrupts, and the movement of data; what commands mean is in floppy_commands.py.

    Mapped at 3F0h with the fixed disk's 3F6h left out. Left out of the data sheet: deleted data, SCAN, READ TRACK,
    power saving, tapes. Without a diskette nothing is found (a real drive waits for an index hole that never comes).
    """

    version = 2
    fields = (
        "dor", "tdr", "rate", "config", "precompensation", "is_locked", "step_head", "load_mode", "perpendicular",
        "command", "result", "is_interrupting", "reset_senses", "seeked", "position", "target",
        "end_of_track", "head", "sector", "first", "sectors", "left", "is_last", "to_fill",
    )  # fmt: skip

    def __init__(
        self,
        clock: VirtualClock,
        irq6: Line,
        dma: Dma,
        drives: list[FloppyDrive],
        post: Post | None = None,
        name: str = "floppy controller",
    ) -> None:
        """Up to four `drives`. The DMA controller must have this connected to channel 2."""
        super().__init__(name)
        self.clock = clock
        self._irq = irq6
        self._dma = dma
        self.drives = drives
        self.port = DiskPort(clock, None, self._on_disk, post)
        self.dor = self.tdr = 0
        # a transfer: the next sector, and those under way, from which sector of the disk on
        self.end_of_track = self.head = self.sector = self.first = self.sectors = 0
        self.left = 0  # sectors that VERIFY counts
        self.is_last = False  # terminal count came with the data that is being written
        self.to_fill: list[int] = []  # sectors of the disk that FORMAT TRACK has still to write
        self.reset()

    @cached_property
    def buffer(self) -> bytearray:
        """More than a cylinder of any format; most guests never ask for it (65 us of the 2 ms that a machine takes)."""
        return bytearray(2 * 64 * SECTOR_BYTES)

    # Registers

    def read(self, offset: int, size: int) -> int:
        if offset == MAIN_STATUS:
            return self._main_status()
        if offset == FIFO:
            return self._read_fifo()
        if offset == DIGITAL_OUTPUT:
            return self.dor
        if offset == TAPE_DRIVE:
            return self.tdr
        if offset == DIGITAL_INPUT:
            drive = self._drive(self.dor & 3)
            motor_on = self.dor >> 4 >> (self.dor & 3) & 1
            return DISK_CHANGE if motor_on and (drive is None or drive.has_changed) else 0
        return UNUSED

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == FIFO:
            self._write_fifo(value)
        elif offset == DIGITAL_OUTPUT:
            was, self.dor = self.dor, value
            if not value & NOT_RESET:
                if was & NOT_RESET:
                    self._abandon()
            elif not was & NOT_RESET:
                self._leave_reset()
            self._update_irq()
        elif offset == TAPE_DRIVE:
            self.tdr = value & 3
        elif offset == RATE_SELECT:
            self.rate = value & 3
            if value & SOFTWARE_RESET:
                self._abandon()
                self._leave_reset()
        elif offset == CONFIGURATION_CONTROL:
            self.rate = value & 3

    def reset(self) -> None:
        self.is_locked = False
        self.dor = self.tdr = 0
        self.rate = 2
        self.step_head = self.load_mode = self.perpendicular = 0
        self.config, self.precompensation = CONFIGURED_AFTER_RESET, 0
        self._abandon()
        self._update_irq()

    def _abandon(self) -> None:
        """Hold reset: whatever was going on is not any more."""
        self.port.forget()
        self._dma.request(DMA_CHANNEL, False)
        self.phase = Phase.COMMAND
        self.command: list[int] = []
        self.result: list[int] = []
        self.position = self.target = 0
        self.is_interrupting = False
        self.reset_senses = 0  # drives whose polling is still to be told by SENSE INTERRUPT STATUS
        self.seeked: list[list[int]] = []  # status 0 and cylinder of seeks that have ended
        if not self.is_locked:
            self.config, self.precompensation = CONFIGURED_AFTER_RESET, 0
        self._update_irq()

    def _leave_reset(self) -> None:
        """The drives are polled, and all have changed from "not ready" (5.2): an interrupt, and a sense for each."""
        self.reset_senses = 4
        self.interrupt(True)

    def _main_status(self) -> int:
        if not self.dor & NOT_RESET:
            return 0
        match self.phase:
            case Phase.COMMAND:
                return REQUEST_FOR_MASTER | (COMMAND_BUSY if self.command else 0)
            case Phase.RESULT:
                return REQUEST_FOR_MASTER | TO_HOST | COMMAND_BUSY
            case Phase.SEEKING:
                return 1 << (self.command[1] & 3)
            case Phase.TO_HOST if not self.uses_dma:
                return REQUEST_FOR_MASTER | TO_HOST | NON_DMA | COMMAND_BUSY
            case Phase.FROM_HOST if not self.uses_dma:
                return REQUEST_FOR_MASTER | NON_DMA | COMMAND_BUSY
            case _:
                return COMMAND_BUSY | (0 if self.uses_dma else NON_DMA)

    def _read_fifo(self) -> int:
        if self.phase == Phase.RESULT:
            value = self.result.pop(0)
            self.interrupt(False)
            if not self.result:
                self._end()
            return value
        if self.phase == Phase.TO_HOST and not self.uses_dma:
            value = self.buffer[self.position]
            self.position += 1
            self.dma_served(False)
            return value
        return 0

    def _write_fifo(self, value: int) -> None:
        if not self.dor & NOT_RESET:
            return
        if self.phase == Phase.FROM_HOST and not self.uses_dma:
            self.dma_give(bytes([value]))
            self.dma_served(False)
        elif self.phase == Phase.COMMAND:
            self.command.append(value)
            entry = COMMANDS.get(self.command[0] & 0x1F, INVALID)
            if not entry.allows(self.command[0]):
                entry = INVALID
            if len(self.command) == entry.length:
                entry.execute(self)

    # For the commands

    @property
    def uses_dma(self) -> bool:
        return not self.load_mode & 1  # SPECIFY's ND

    def _drive(self, number: int) -> FloppyDrive | None:
        return self.drives[number] if number < len(self.drives) else None

    @property
    def drive(self) -> FloppyDrive | None:
        """The one that the command's second byte names."""
        return self._drive(self.command[1] & 3)

    def interrupt(self, level: bool) -> None:
        self.is_interrupting = level
        self._update_irq()

    def _update_irq(self) -> None:
        self._irq.set(self.is_interrupting and bool(self.dor & DMA_GATE))

    def _end(self) -> None:
        self.phase = Phase.COMMAND
        self.command = []

    def answer(self, *result: int, interrupt: bool = False) -> None:
        """Enter the result phase; without results the command is over."""
        self._dma.request(DMA_CHANNEL, False)
        self.result = list(result)
        if result:
            self.phase = Phase.RESULT
        else:
            self._end()
        if interrupt:
            self.interrupt(False)  # of the execution phase without DMA
            self.interrupt(True)

    def ask_disk(self, ask: Callable[[DiskPort], None], phase: Phase = Phase.WAITING) -> None:
        """Have the present drive's disk do something, and go on with the command when it is done."""
        drive = self.drive
        self.phase = phase
        self.port.disk = drive.disk if drive is not None else None
        ask(self.port)

    def to_host(self, n: int) -> None:
        """`n` bytes of the buffer are for the host."""
        self._offer(Phase.TO_HOST, n)

    def from_host(self, n: int) -> None:
        """The host is to fill `n` bytes of the buffer."""
        self._offer(Phase.FROM_HOST, n)

    def _offer(self, phase: Phase, n: int) -> None:
        self.phase = phase
        self.position, self.target = 0, n
        if self.uses_dma:
            self._dma.request(DMA_CHANNEL, True)
        else:
            self.interrupt(True)

    # The DMA controller's side

    def dma_take(self, n: int) -> bytes:
        if self.phase != Phase.TO_HOST:
            return b""
        data = bytes(self.buffer[self.position : min(self.position + n, self.target)])
        self.position += len(data)
        return data

    def dma_room(self) -> int:
        return self.target - self.position if self.phase == Phase.FROM_HOST else 0

    def dma_give(self, data: bytes) -> None:
        self.buffer[self.position : self.position + len(data)] = data
        self.position += len(data)

    def dma_served(self, is_terminal: bool) -> None:
        is_full = self.position == self.target
        if self.phase in (Phase.TO_HOST, Phase.FROM_HOST) and (is_terminal or is_full):
            self._dma.request(DMA_CHANNEL, False)
            if not self.uses_dma:
                self.interrupt(False)
            COMMANDS[self.command[0] & 0x1F].moved(self, is_terminal)

    def _on_disk(self, error: OSError | None) -> None:
        COMMANDS[self.command[0] & 0x1F].done(self, error)

    def state(self) -> dict[str, Any]:
        used = {Phase.TO_HOST: self.target, Phase.FROM_HOST: self.position}.get(self.phase, 0)
        return super().state() | {
            "phase": self.phase,
            "buffer": memoryview(self.buffer)[:used].hex() if used else "",
            "port": self.port.state(),
            "port_drive": self.command[1] & 3 if self.port.is_busy else 0,
            "drives": [{name: getattr(drive, name) for name in FloppyDrive.fields} for drive in self.drives],
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.phase = Phase(state["phase"])
        if data := bytes.fromhex(state["buffer"]):
            self.buffer[: len(data)] = data
        for drive, fields in zip(self.drives, state["drives"], strict=True):
            for name in FloppyDrive.fields:
                setattr(drive, name, fields[name])
        asked = self._drive(state["port_drive"])
        self.port.disk = asked.disk if asked is not None else None
        self.port.restore(state["port"])
        self._update_irq()
