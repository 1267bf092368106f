"""What ATA disks and ATAPI CD-ROMs share: the task file, the data port's buffer, and how data moves (ATA/ATAPI-6)."""

from collections.abc import Callable
from enum import StrEnum, auto
from typing import Any, ClassVar, Protocol

from bt.clock.virtual_clock import VirtualClock
from bt.devices.shared import address_of
from bt.devices.storage.ata.ide_native import BUSY, DATA_REQUEST, AtaShared
from bt.devices.storage.disk_port import DiskPort, Post
from bt.disks.disk import Disk
from bt.disks.image import SECTOR_BYTES
from bt.disks.latency import SECTOR_NS

# Command Block registers (clause 7), by their offset; two have another name when written
DATA, ERROR, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, STATUS = range(8)
FEATURES, COMMAND = ERROR, STATUS

READY, FAULT, SEEK_COMPLETE = 0x40, 0x20, 0x10
STATUS_ERROR = 0x01
RESTING = READY | SEEK_COMPLETE  # bit 4 is "command dependent" since ATA-4; software still waits for it

ABORTED, NOT_FOUND, UNCORRECTABLE = 0x04, 0x10, 0x40  # error register

CHUNK_SECTORS = 256  # a request to the host: bounds the buffer whatever the guest asks for


class Phase(StrEnum):
    """What a device is about. All but the first are busy or have data to move."""

    IDLE = auto()
    READING = auto()  # from here on: the host has a request
    WRITING = auto()
    FLUSHING = auto()
    VERIFYING = auto()
    DATA_IN = auto()  # the guest has a block to read
    DATA_OUT = auto()  # or to write
    PAUSE_IN = auto()  # between two blocks
    PAUSE_OUT = auto()
    FINISHING = auto()  # after the last
    DMA_IN = auto()  # the bus master has data to fetch
    DMA_OUT = auto()  # or to bring
    PACKET = auto()  # a command packet is to be written


class Dma(Protocol):
    """The other end of a device's DMA: a bus master (SFF-8038i)."""

    @property
    def is_running(self) -> bool: ...
    def to_memory(self, data: memoryview) -> int:
        """Store as much of `data` as there is room for; how many bytes that was."""

    def from_memory(self, n: int) -> bytes:
        """Up to `n` bytes."""


class AtaDevice(AtaShared):
    """One device on a cable: registers, a buffer, and what it is about.

    The data port moves through `buffer`: `position` is the next byte, up to `read_end` or `write_end`, whichever is
    not zero; at the end `block_read` or `block_written` is next.
    """

    fields: ClassVar[tuple[str, ...]] = (
        "status", "error", "is_interrupting", "phase", "position", "read_end", "write_end", "_filled", "_target",
        "_lba", "_left", "_block_bytes", "_is_dma",
    )  # fmt: skip
    signature: ClassVar[tuple[int, int, int, int]]  # COUNT to LBA_HIGH after a reset (9.12)
    status_after_reset: ClassVar[int]

    def __init__(self, clock: VirtualClock, disk: Disk | None, post: Post | None) -> None:
        self.status = self.error = 0
        self.is_interrupting = False
        self.phase = Phase.IDLE
        self.buffer = bytearray(CHUNK_SECTORS * SECTOR_BYTES)
        self._buffer_address = address_of(self.buffer)
        self.position = self.read_end = self.write_end = 0
        self.dma: Dma | None = None
        self._filled = 0  # bytes of the buffer that are to go to the guest
        self._target = 0  # or are to come from it
        self._lba = self._left = 0  # sectors from the present chunk's first on, less what is in the buffer to be sent
        self._block_bytes = SECTOR_BYTES  # moved for one DATA_REQUEST
        self._is_dma = False
        self.interrupt_changed: Callable[[], None] = lambda: None  # the channel's
        self._port = DiskPort(clock, disk, self._on_disk, post)

    # Registers

    def execute(self, command: int) -> None:
        """The command register was written."""
        raise NotImplementedError

    def diagnose(self) -> None:
        """EXECUTE DEVICE DIAGNOSTIC, and what every reset ends with: passed, and the signature (9.12)."""
        self.stop()
        self.error = 0x01
        self.status = self.status_after_reset
        self.task[COUNT : LBA_HIGH + 1] = self.previous[COUNT : LBA_HIGH + 1] = bytes(self.signature)
        self.previous[COUNT : LBA_HIGH + 1] = bytes(4)
        self.task[DEVICE] = 0

    def hold_reset(self) -> None:
        """SRST is set: busy until it is cleared."""
        self.stop()
        self.status = BUSY
        self.interrupt(False)

    def reset(self) -> None:
        """The RESET- pin: everything as after power-on."""
        self.interrupt(False)
        self.diagnose()

    def read_data(self, size: int) -> int:
        """The data port: `size` is 2 or 4."""
        position = self.position
        end = position + size
        if end > self.read_end:
            if size == 4 and position + 2 == self.read_end:
                return self.read_data(2) | self.read_data(2) << 16
            return 0
        buffer = self.buffer
        value = buffer[position] | buffer[position + 1] << 8
        if size == 4:
            value |= buffer[position + 2] << 16 | buffer[position + 3] << 24
        self.position = end
        if end == self.read_end:
            self.block_read()
        return value

    def write_data(self, size: int, value: int) -> None:
        position = self.position
        end = position + size
        if end > self.write_end:
            if size == 4 and position + 2 == self.write_end:
                self.write_data(2, value & 0xFFFF)
            return
        buffer = self.buffer
        buffer[position] = value & 0xFF
        buffer[position + 1] = value >> 8 & 0xFF
        if size == 4:
            buffer[position + 2] = value >> 16 & 0xFF
            buffer[position + 3] = value >> 24
        self.position = end
        if end == self.write_end:
            self.block_written()

    def read_block(self) -> bytes:
        """What the data port has for the guest, all of it in one go."""
        data = bytes(memoryview(self.buffer)[self.position : self.read_end])
        if data:
            self.position = self.read_end
            self.block_read()
        return data

    def write_block(self, data: bytes) -> int:
        """Give the data port as much of `data` as it wants; how many bytes that was."""
        n = max(0, min(len(data), self.write_end - self.position))
        if n:
            self.buffer[self.position : self.position + n] = data[:n]
            self.position += n
            if self.position == self.write_end:
                self.block_written()
        return n

    def interrupt(self, level: bool) -> None:
        """Drive INTRQ."""
        self.is_interrupting = level
        self.interrupt_changed()

    # How commands end

    def stop(self) -> None:
        """Give up what is under way."""
        self._port.forget()
        self.phase = Phase.IDLE
        self.position = self.read_end = self.write_end = self._filled = self._target = self._left = 0

    def complete(self) -> None:
        self.stop()
        self.status, self.error = RESTING, 0
        self.interrupt(True)

    def finish(self) -> None:
        """All data has moved, and the interrupt that says so is due."""
        self.complete()

    def fail(self, error: int) -> None:
        self.stop()
        self.status, self.error = RESTING | STATUS_ERROR, error
        self.interrupt(True)

    def disk_failed(self, error: OSError) -> None:
        """The host could not do what the present chunk asked for."""
        raise NotImplementedError

    def wait_for_disk(self, phase: Phase) -> None:
        self.phase = phase
        self.status = BUSY | RESTING
        self.position = self.read_end = self.write_end = 0

    # To the guest: chunks from the disk, in blocks through the data port or by DMA

    def send_sectors(self, lba: int, sectors: int, block_bytes: int, is_dma: bool) -> None:
        self._lba, self._left, self._block_bytes, self._is_dma = lba, sectors, block_bytes, is_dma
        self._read_chunk(Phase.READING)

    def send(self, data: bytes, block_bytes: int, is_dma: bool = False) -> None:
        """Send `data`, which is not from the disk and fits the buffer."""
        self._left, self._block_bytes, self._is_dma = 0, block_bytes, is_dma
        self.buffer[: len(data)] = data
        self.position, self._filled = 0, len(data)
        self._send_buffer()

    def verify_sectors(self, lba: int, sectors: int) -> None:
        """Read, and send nothing."""
        self._lba, self._left = lba, sectors
        self._read_chunk(Phase.VERIFYING)

    def _read_chunk(self, phase: Phase) -> None:
        sectors = min(self._left, CHUNK_SECTORS)
        self.wait_for_disk(phase)
        self._port.read(self._lba, sectors)

    def _send_buffer(self) -> None:
        if self._is_dma:
            self.phase = Phase.DMA_IN
            self.status = RESTING | DATA_REQUEST
            self.pump_dma()
        else:
            self._offer_block()

    def _offer_block(self) -> None:
        n = min(self._block_bytes, self._filled - self.position)
        self.phase = Phase.DATA_IN
        self.read_end = self.position + (n + 1 & ~1)  # the port is 16 bits wide: an odd byte has one of padding
        if n & 1:
            self.buffer[self.read_end - 1] = 0
        self.status = RESTING | DATA_REQUEST
        self.announce_block(n)
        self.interrupt(True)

    def announce_block(self, n: int) -> None:
        """`n` bytes are about to move through the data port: a packet device says so in its registers."""

    def block_read(self) -> None:
        self.read_end = 0
        if self.position < self._filled:
            self.pause(Phase.PAUSE_IN)
        elif self._left:
            self._read_chunk(Phase.READING)
        else:
            self.all_sent()

    def all_sent(self) -> None:
        """The last word has been read: a disk does not interrupt once more (9.5, PIO data-in)."""
        self.stop()
        self.status = RESTING

    def pause(self, phase: Phase) -> None:
        """Between two blocks a device is busy, so that a status read after the data takes no interrupt away."""
        self.phase = phase
        self.status = BUSY | RESTING
        self._port.wait(self._block_bytes // SECTOR_BYTES * SECTOR_NS)

    # From the guest

    def take_sectors(self, lba: int, sectors: int, block_bytes: int, is_dma: bool) -> None:
        self._lba, self._left, self._block_bytes, self._is_dma = lba, sectors, block_bytes, is_dma
        self._take_chunk(interrupt=False)

    def _take_chunk(self, interrupt: bool) -> None:
        self.position = 0
        self._target = min(self._left, CHUNK_SECTORS) * SECTOR_BYTES
        if self._is_dma:
            self.phase = Phase.DMA_OUT
            self.status = RESTING | DATA_REQUEST
            self.pump_dma()
        else:
            self._want_block(interrupt)

    def _want_block(self, interrupt: bool) -> None:
        self.phase = Phase.DATA_OUT
        self.write_end = min(self.position + self._block_bytes, self._target)
        self.status = RESTING | DATA_REQUEST
        if interrupt:
            self.interrupt(True)

    def block_written(self) -> None:
        self.write_end = 0
        if self.position < self._target:
            self.pause(Phase.PAUSE_OUT)
        else:
            self._write_chunk()

    def _write_chunk(self) -> None:
        self.wait_for_disk(Phase.WRITING)
        self._port.write(self._lba, bytes(memoryview(self.buffer)[: self._target]))

    def _chunk_on_disk(self) -> None:
        self._advance(self._target)
        if self._left:
            self._take_chunk(interrupt=True)
        else:
            self.all_written()

    def all_written(self) -> None:
        self.finish()

    def flush(self) -> None:
        self.wait_for_disk(Phase.FLUSHING)
        self._port.flush()

    # Events

    def pump_dma(self) -> None:
        """Move what can be moved: called when there is data, and when the bus master starts."""
        dma = self.dma
        if dma is None:
            return
        if self.phase == Phase.DMA_IN and dma.is_running:
            self.position += dma.to_memory(memoryview(self.buffer)[self.position : self._filled])
            if self.position == self._filled:
                if self._left:
                    self._read_chunk(Phase.READING)
                else:
                    self.finish()
        elif self.phase == Phase.DMA_OUT and dma.is_running:
            data = dma.from_memory(self._target - self.position)
            self.buffer[self.position : self.position + len(data)] = data
            self.position += len(data)
            if self.position == self._target:
                self._write_chunk()

    def _on_disk(self, error: OSError | None) -> None:
        if error is not None:
            self.disk_failed(error)
            return
        data = self._port.data
        match self.phase:
            case Phase.READING:
                self._advance(len(data))
                self.buffer[: len(data)] = data
                self.position, self._filled = 0, len(data)
                self._send_buffer()
            case Phase.VERIFYING:
                self._advance(len(data))
                if self._left:
                    self._read_chunk(Phase.VERIFYING)
                else:
                    self.finish()
            case Phase.WRITING:
                self._chunk_on_disk()
            case Phase.PAUSE_IN:
                self._offer_block()
            case Phase.PAUSE_OUT:
                self._want_block(interrupt=True)
            case _:
                self.finish()

    def _advance(self, n: int) -> None:
        """A chunk of `n` bytes is done with."""
        self._lba += n // SECTOR_BYTES
        self._left -= n // SECTOR_BYTES

    def state(self) -> dict[str, Any]:
        used = max(self._filled, self.position)  # to be sent, or already received
        return {name: getattr(self, name) for name in self.fields} | {
            "task": list(self.task),
            "previous": list(self.previous),
            "buffer": memoryview(self.buffer)[:used].hex(),
            "port": self._port.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name in self.fields:
            setattr(self, name, state[name])
        self.phase = Phase(state["phase"])
        self.task, self.previous = bytes(state["task"]), bytes(state["previous"])
        data = bytes.fromhex(state["buffer"])
        self.buffer[: len(data)] = data
        self._port.restore(state["port"])
