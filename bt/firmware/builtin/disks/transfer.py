"""A read, write or verification of sectors that takes the guest's time: begun by a service, and gone on with each time
the ROM's code asks again.

What a drive does is the device model's business; what is under way here is a few numbers, which are the BIOS's state.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from bt.devices.storage.ata import ata_device as ata
from bt.devices.storage.ata.ata_device import AtaDevice
from bt.devices.storage.ata.ide_channel import NO_INTERRUPTS
from bt.devices.storage.ata.ide_native import BUSY, DATA_REQUEST
from bt.firmware.builtin.pc import AtaPlace, Pc

SECTOR, CD_BLOCK = 512, 2048
COMMAND_PORTS, CONTROL_PORTS = (0x1F0, 0x170), (0x3F6, 0x376)
READ, READ_EXT, WRITE, WRITE_EXT, VERIFY, VERIFY_EXT, PACKET = 0x20, 0x24, 0x30, 0x34, 0x40, 0x42, 0xA0
READ_10 = 0x28
MOST_SECTORS, MOST_BLOCKS, SECTORS_OF_28_BITS = 256, 32, 1 << 28
PACKET_BLOCK_BYTES = 0xF800
USES_LBA, ALWAYS_SET, SECOND = 0x40, 0xA0, 0x10
UNIT_ATTENTION = 0x6
RETRIES = 3

# status of INT 13h (IBM PC/AT Technical Reference; Ralf Brown's list, table 00234)
GOOD, BAD_PARAMETER, WRITE_PROTECTED, SECTOR_NOT_FOUND = 0x00, 0x01, 0x03, 0x04
DMA_BOUNDARY, DATA_ERROR, CONTROLLER_FAILED, SEEK_FAILED, TIMED_OUT, NOT_READY = 0x09, 0x10, 0x20, 0x40, 0x80, 0xAA


class Transfer(Protocol):
    """Under way."""

    owner: int

    def step(self, pc: Pc) -> int | None:
        """Do what can be done now. None: it is not over; else the status for INT 13h."""

    @property
    def waits(self) -> bool:
        """It goes on only when time has passed."""

    @property
    def done_sectors(self) -> int: ...

    def abandon(self, pc: Pc) -> None:
        """Nobody wants it any more."""

    def state(self) -> dict[str, Any]: ...


@dataclass
class AtaTransfer:
    """With a disk or CD-ROM drive, by PIO.

    `unit` of `left` and `lba`: sectors of a disk, blocks of a CD-ROM. Bytes from the medium: `skip` are passed over,
    then `wanted` are stored at `address`; the rest is for nobody.
    """

    owner: int
    channel: int
    position: int
    is_cdrom: bool
    lba: int
    left: int
    address: int
    skip: int
    wanted: int
    command: str = "read"  # or write, verify
    chunk: int = 0  # units of the command under way, 0: none is
    moved: int = 0  # bytes of it
    retries: int = RETRIES
    done: int = 0  # units
    waits: bool = False

    @classmethod
    def of(cls, owner: int, place: AtaPlace, lba: int, count: int, address: int, command: str = "read") -> AtaTransfer:
        """Whole sectors of a disk, or blocks of a CD-ROM."""
        unit = CD_BLOCK if place.is_cdrom else SECTOR
        return cls(owner, place.channel, place.position, place.is_cdrom, lba, count, address, 0, count * unit, command)

    @property
    def done_sectors(self) -> int:
        return self.done

    def state(self) -> dict[str, Any]:
        return {"medium": "ata"} | asdict(self)

    def step(self, pc: Pc) -> int | None:
        device = pc.drive(self.channel, self.position)
        if device is None:
            return TIMED_OUT
        self.waits = False
        if not self.chunk:
            return self._begin(pc, device)
        pc.output(COMMAND_PORTS[self.channel] + ata.DEVICE, self._device_register())
        status = pc.input(CONTROL_PORTS[self.channel])
        if status & BUSY:
            self.waits = True
            return None
        if status & (ata.STATUS_ERROR | ata.FAULT):
            return self._failed(pc, device)
        if status & DATA_REQUEST:
            self._move(pc, device)
            return None
        return self._chunk_done(pc)

    def abandon(self, pc: Pc) -> None:
        reset(pc, self.channel)

    def _begin(self, pc: Pc, device: AtaDevice) -> int | None:
        if device.status & (BUSY | DATA_REQUEST):
            reset(pc, self.channel)
        pc.output(CONTROL_PORTS[self.channel], NO_INTERRUPTS)
        if self.is_cdrom:
            self._send_packet(pc, device)
        else:
            self._send_command(pc)
        return None

    def _device_register(self) -> int:
        return ALWAYS_SET | self.position * SECOND

    def _send_command(self, pc: Pc) -> None:
        self.chunk, self.moved = min(self.left, MOST_SECTORS), 0
        lba, count = self.lba, self.chunk & 0xFF
        base = COMMAND_PORTS[self.channel]
        is_wide = lba + self.chunk > SECTORS_OF_28_BITS
        plain, wide = {"read": (READ, READ_EXT), "write": (WRITE, WRITE_EXT)}.get(self.command, (VERIFY, VERIFY_EXT))
        device = self._device_register() | USES_LBA
        if is_wide:
            pc.output(base + ata.DEVICE, device)
            for register, value in (
                (ata.COUNT, self.chunk >> 8),
                (ata.LBA_LOW, lba >> 24),
                (ata.LBA_MID, lba >> 32),
                (ata.LBA_HIGH, lba >> 40),
            ):
                pc.output(base + register, value)
        else:
            pc.output(base + ata.DEVICE, device | lba >> 24 & 0x0F)
        for register, value in (
            (ata.COUNT, count), (ata.LBA_LOW, lba), (ata.LBA_MID, lba >> 8), (ata.LBA_HIGH, lba >> 16)
        ):  # fmt: skip
            pc.output(base + register, value)
        pc.output(base + ata.COMMAND, wide if is_wide else plain)

    def _send_packet(self, pc: Pc, device: AtaDevice) -> None:
        self.chunk, self.moved = min(self.left, MOST_BLOCKS), 0
        base = COMMAND_PORTS[self.channel]
        pc.output(base + ata.DEVICE, self._device_register())
        pc.output(base + ata.FEATURES, 0)
        pc.output(base + ata.LBA_MID, PACKET_BLOCK_BYTES & 0xFF)
        pc.output(base + ata.LBA_HIGH, PACKET_BLOCK_BYTES >> 8)
        pc.output(base + ata.COMMAND, PACKET)
        packet = bytes((READ_10, 0)) + self.lba.to_bytes(4, "big") + b"\0" + self.chunk.to_bytes(2, "big")
        device.write_block(packet.ljust(12, b"\0"))

    def _move(self, pc: Pc, device: AtaDevice) -> None:
        if self.command == "write":
            data = pc.read(self.address, SECTOR)
            self.address += device.write_block(data)
            return
        data = device.read_block()
        self.moved += len(data)
        useful = data[self.skip :][: self.wanted]
        self.skip = max(0, self.skip - len(data))
        if useful:
            pc.write(self.address, useful)
            self.address += len(useful)
            self.wanted -= len(useful)

    def _chunk_done(self, pc: Pc) -> int | None:
        self.lba += self.chunk
        self.left -= self.chunk
        self.done += self.chunk
        self.chunk = 0
        pc.input(COMMAND_PORTS[self.channel] + ata.STATUS)
        if self.left:
            return None
        pc.output(CONTROL_PORTS[self.channel], 0)
        return GOOD

    def _failed(self, pc: Pc, device: AtaDevice) -> int | None:
        error = pc.input(COMMAND_PORTS[self.channel] + ata.ERROR)
        pc.input(COMMAND_PORTS[self.channel] + ata.STATUS)
        self.chunk = 0
        if self.is_cdrom and error >> 4 == UNIT_ATTENTION and self.retries:
            self.retries -= 1
            return None
        pc.output(CONTROL_PORTS[self.channel], 0)
        if self.is_cdrom:
            return NOT_READY if error >> 4 == 2 else CONTROLLER_FAILED
        if error & ata.NOT_FOUND:
            return SECTOR_NOT_FOUND
        return DATA_ERROR if error & ata.UNCORRECTABLE else CONTROLLER_FAILED


def reset(pc: Pc, channel: int) -> None:
    """Software reset of both devices."""
    pc.output(CONTROL_PORTS[channel], 0x04 | NO_INTERRUPTS)
    pc.output(CONTROL_PORTS[channel], 0)
