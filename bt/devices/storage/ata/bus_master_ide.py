"""Bus-master DMA for an IDE channel (SFF-8038i; Intel 82371SB PIIX3, 290550, section 2.7: BMICX, BMISX, BMIDTPX)."""

from collections.abc import Callable

from bt.devices.device import Device, Line
from bt.devices.dma_memory import DmaMemory, GuestMemory
from bt.devices.storage.ata.bus_master_native import (
    ACTIVE,
    DRIVE_FLAGS,
    ERROR,
    INTERRUPT,
    START,
    TO_MEMORY,
    MasterShared,
    read_command,
    read_status,
    write_command,
    write_status,
    write_table,
)
from bt.memory.native_registers import NativeRegister

COMMAND, STATUS, TABLE = 0, 2, 4  # offsets; the table's address has four bytes

END_OF_TABLE = 0x80  # in the last byte of an entry
ENTRY_BYTES = 8


class BusMasterIde(MasterShared, Device):
    """One channel's eight registers, and its walk through the table of physical regions (PRD).

    Moves bytes when the device has some; the device asks with `is_running`, `to_memory`, `from_memory`. A device with
    more than the table has room for keeps waiting, with ACTIVE clear; one with less leaves ACTIVE set.
    """

    widest_access = 4
    fields = ("_command", "_status", "_table", "_entry", "_address", "_left", "_is_last", "_input")

    def __init__(
        self, memory: GuestMemory, interrupt: Line, started: Callable[[], None], name: str = "bus-master IDE"
    ) -> None:
        """`interrupt` is the channel's INTRQ; `started()` has its device move what it can."""
        super().__init__(name)
        self._memory = DmaMemory(memory)
        self._started = started
        self._command = self._status = self._table = 0
        self._entry = 0  # offset of the next entry of the table
        self._address = self._left = 0  # of the present region
        self._is_last = False
        self._input = interrupt.level
        interrupt.watch(self._interrupt)

    @property
    def is_running(self) -> bool:
        return bool(self._command & START and self._status & ACTIVE)

    def to_memory(self, data: memoryview) -> int:
        """The device sends `data`: how much of it there was room for. Nothing if the command says the other way."""
        if not self._command & TO_MEMORY:
            return 0
        done = 0
        while done < len(data) and (n := self._room(len(data) - done)):
            self._memory.write(self._address, data[done : done + n])
            done += n
            self._advance(n)
        return done

    def from_memory(self, n: int) -> bytes:
        """The device wants `n` bytes: what there is of them."""
        if self._command & TO_MEMORY:
            return b""
        parts: list[bytes] = []
        while n and (piece := self._room(n)):
            parts.append(self._memory.read(self._address, piece))
            n -= piece
            self._advance(piece)
        return b"".join(parts)

    def read(self, offset: int, size: int) -> int:
        registers = bytes([self._command, 0, self._status, 0]) + self._table.to_bytes(4, "little")
        return int.from_bytes(registers[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == TABLE and size == 4:
            self._table = value & 0xFFFF_FFFC
            return
        for at in range(size):
            self._write_byte(offset + at, value >> 8 * at & 0xFF)

    def native_registers(self) -> dict[int, NativeRegister]:
        return {
            COMMAND: NativeRegister(self.block, read_command, write_command),
            STATUS: NativeRegister(self.block, read_status, write_status),
            TABLE: NativeRegister(self.block, None, write_table),
        }

    def reset(self) -> None:
        self._command = self._status = self._table = self._entry = self._address = self._left = 0
        self._is_last = False

    def _write_byte(self, offset: int, value: int) -> None:
        if offset == COMMAND:
            self._write_command(value & (START | TO_MEMORY))
        elif offset == STATUS:
            kept = self._status & (ACTIVE | (ERROR | INTERRUPT) & ~value)
            self._status = kept | value & DRIVE_FLAGS
        elif offset >= TABLE:
            shift = 8 * (offset - TABLE)
            self._table = (self._table & ~(0xFF << shift) | value << shift) & 0xFFFF_FFFC

    def _write_command(self, value: int) -> None:
        rising = value & START and not self._command & START
        self._command = value
        if not value & START:
            # stops at once, and "cannot be resumed" (2.1)
            self._status &= ~ACTIVE
            self._left = 0
        if rising:
            self._entry = 0
            self._left = 0
            self._is_last = False
            self._status |= ACTIVE
            self._started()

    def _interrupt(self, level: bool) -> None:
        """INTRQ rose: the bit follows it whatever the master does; the region was the last and is full: done."""
        rises, self._input = level and not self._input, level
        if not rises:
            return
        self._status |= INTERRUPT
        if self._is_last and not self._left:
            self._status &= ~ACTIVE

    def _room(self, wanted: int) -> int:
        """Up to `wanted` bytes of the present region, the next one if it is full; 0 at the end of the table."""
        if not self._left:
            if self._is_last or not self._status & ACTIVE:
                self._status &= ~ACTIVE
                return 0
            # the low 16 bits count: a table wraps within its 64 KiB
            at = self._table & 0xFFFF_0000 | self._table + self._entry & 0xFFFF
            entry = self._memory.read(at, ENTRY_BYTES)
            self._entry = self._entry + ENTRY_BYTES
            self._address = int.from_bytes(entry[:4], "little") & ~1
            self._left = int.from_bytes(entry[4:6], "little") & ~1 or 0x10000
            self._is_last = bool(entry[7] & END_OF_TABLE)
        return min(wanted, self._left)

    def _advance(self, n: int) -> None:
        self._address += n
        self._left -= n
