"""A CD-ROM drive with an ATAPI interface (ATA/ATAPI-6, 9.8; MMC-3; SFF-8020i)."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bt.clock.virtual_clock import VirtualClock
from bt.devices.storage.ata import cdrom_replies as replies
from bt.devices.storage.ata.ata_device import (
    ABORTED,
    COUNT,
    FEATURES,
    LBA_HIGH,
    LBA_MID,
    RESTING,
    STATUS_ERROR,
    AtaDevice,
    Phase,
)
from bt.devices.storage.ata.ata_disk import set_feature
from bt.devices.storage.ata.ata_identify import Settings, identify_cdrom
from bt.devices.storage.ata.ide_native import DATA_REQUEST
from bt.devices.storage.disk_port import Post
from bt.disks.disk import Disk
from bt.disks.image import SECTOR_BYTES

PACKET_BYTES = 12
BLOCK_SECTORS = replies.CD_BLOCK_BYTES // SECTOR_BYTES

BY_DMA, OVERLAPPED = 0x01, 0x02  # FEATURES of PACKET
IS_COMMAND, TO_HOST = 0x01, 0x02  # interrupt reason, which is in COUNT: C/D and I/O
MOST_BYTES = 0xFFFE  # of a block through the data port

# sense: key, additional code, qualifier (MMC-3, annex on sense codes)
Sense = tuple[int, int, int]
NO_SENSE: Sense = (0x0, 0x00, 0)
NO_MEDIUM: Sense = (0x2, 0x3A, 0)
READ_ERROR: Sense = (0x3, 0x11, 0)
INVALID_COMMAND: Sense = (0x5, 0x20, 0)
BLOCK_OUT_OF_RANGE: Sense = (0x5, 0x21, 0)
INVALID_FIELD: Sense = (0x5, 0x24, 0)
REMOVAL_PREVENTED: Sense = (0x5, 0x53, 2)
MEDIUM_CHANGED: Sense = (0x6, 0x28, 0)

NO_EVENT, EJECT_REQUESTED, NEW_MEDIUM, MEDIUM_REMOVED = range(4)


class AtapiCdrom(AtaDevice):
    """One medium of 2048-byte blocks, or none, behind a tray with a lock.

    Left out: audio, raw sectors, overlapped commands, and the unit attention of a reset.
    """

    signature = (1, 1, 0x14, 0xEB)
    status_after_reset = 0x00

    def __init__(
        self,
        clock: VirtualClock,
        disk: Disk | None,
        serial: str = "BT00003",
        model: str = "BT CD-ROM",
        post: Post | None = None,
    ) -> None:
        super().__init__(clock, disk, post)
        self._serial, self._model = serial, model
        self._settings = Settings()
        self._sense = NO_SENSE
        self._attention: Sense | None = None  # to be told before anything else
        self._event = NO_EVENT
        self._is_open = self._is_locked = False
        self._is_packet = False  # else what is under way is a command of the task file
        self.diagnose()

    # For the user

    @property
    def disk(self) -> Disk | None:
        return self._port.disk

    @property
    def is_locked(self) -> bool:
        """The guest wants its medium to stay."""
        return self._is_locked

    @property
    def is_open(self) -> bool:
        """The tray is out."""
        return self._is_open

    def insert(self, disk: Disk | None) -> None:
        """Change the medium, or take it out. What was still to be read of it fails; the caller closes the old disk."""
        if self._left:
            self._fail_with(NO_MEDIUM)
        self._port.disk = disk
        self._attention = MEDIUM_CHANGED if disk is not None else None
        self._event = NEW_MEDIUM if disk is not None else MEDIUM_REMOVED
        self._is_open = False

    # Commands of the task file

    def execute(self, command: int) -> None:
        self._is_packet = False
        handler = COMMANDS.get(command)
        if handler is None:
            self.fail(ABORTED)
        else:
            handler(self)

    def reset(self) -> None:
        self._settings = Settings()
        self._sense, self._is_locked = NO_SENSE, False
        super().reset()

    def _device_reset(self) -> None:
        self.diagnose()

    def _diagnose_alone(self) -> None:
        self.diagnose()
        self.interrupt(True)

    def _refuse_as_packet_device(self) -> None:
        """Commands of disks end so, to say what this is (8.15.5.2)."""
        self.task[COUNT : LBA_HIGH + 1] = bytes(self.signature)
        self.fail(ABORTED)

    def _identify(self) -> None:
        self.send(identify_cdrom(self._settings, self._serial, self._model), SECTOR_BYTES)

    def _set_features(self) -> None:
        if set_feature(self._settings, self.task[FEATURES], self.task[COUNT]):
            self.complete()
        else:
            self.fail(ABORTED)

    def _check_power_mode(self) -> None:
        self.complete()
        self.task[COUNT] = 0xFF

    def _packet(self) -> None:
        """PACKET: 12 bytes are to come through the data port, without an interrupt."""
        features = self.task[FEATURES]
        if features & OVERLAPPED or (features & BY_DMA and self.dma is None):
            self.fail(ABORTED)
            return
        self.stop()
        self._is_dma = bool(features & BY_DMA)
        limit = self.task[LBA_MID] | self.task[LBA_HIGH] << 8
        self._block_bytes = min(limit, MOST_BYTES) & ~1 or MOST_BYTES
        self.phase = Phase.PACKET
        self._is_packet = True
        self.write_end = PACKET_BYTES
        self.task[COUNT] = IS_COMMAND
        self.status = RESTING | DATA_REQUEST

    # The protocol of packets

    def block_written(self) -> None:
        self.write_end = 0
        packet = bytes(self.buffer[:PACKET_BYTES])
        code = packet[0]
        handler = PACKET_COMMANDS.get(code)
        if self._attention is not None and code not in REGARDLESS_OF_ATTENTION:
            attention, self._attention = self._attention, None
            self._fail_with(attention)
        elif handler is None:
            self._fail_with(INVALID_COMMAND)
        elif self.disk is None and code in NEEDS_MEDIUM:
            self._fail_with(NO_MEDIUM)
        else:
            try:
                handler(self, packet)
            except replies.InvalidField:
                self._fail_with(INVALID_FIELD)

    def announce_block(self, n: int) -> None:
        self.task[COUNT] = TO_HOST
        self.task[LBA_MID], self.task[LBA_HIGH] = n & 0xFF, n >> 8

    def all_sent(self) -> None:
        """After the data of a packet command there is one more interrupt, with the status (9.8)."""
        if self._is_packet:
            self.pause(Phase.FINISHING)
        else:
            super().all_sent()

    def complete(self) -> None:
        super().complete()
        self.task[COUNT] = IS_COMMAND | TO_HOST

    def disk_failed(self, error: OSError) -> None:
        self._fail_with(READ_ERROR)

    def _fail_with(self, sense: Sense) -> None:
        self._sense = sense
        self.task[COUNT] = IS_COMMAND | TO_HOST
        self.stop()
        self.status, self.error = RESTING | STATUS_ERROR, sense[0] << 4 | ABORTED
        self.interrupt(True)

    def _reply(self, data: bytes, room: int) -> None:
        """Send as much of `data` as the host has allocated."""
        data = data[:room]
        if data:
            self.send(data, self._block_bytes, self._is_dma)
        else:
            self.complete()

    # Packet commands

    @property
    def _blocks(self) -> int:
        return self.disk.sectors // BLOCK_SECTORS if self.disk is not None else 0

    def _request_sense(self, packet: bytes) -> None:
        sense = self._attention or self._sense
        self._attention, self._sense = None, NO_SENSE
        self._reply(replies.request_sense(*sense), packet[4])

    def _inquiry(self, packet: bytes) -> None:
        self._reply(replies.inquiry(packet, "BT", "CD-ROM"), packet[4])

    def _start_stop(self, packet: bytes) -> None:
        ejects_or_loads, start = packet[4] & 2, packet[4] & 1
        if ejects_or_loads:
            if self._is_locked and not start:
                self._fail_with(REMOVAL_PREVENTED)
                return
            self._is_open = not start
        self.complete()

    def _prevent_allow(self, packet: bytes) -> None:
        self._is_locked = bool(packet[4] & 1)
        self.complete()

    def _read_capacity(self, packet: bytes) -> None:
        self._reply(replies.read_capacity(self._blocks), 8)

    def _read_blocks(self, block: int, count: int) -> None:
        if block + count > self._blocks:
            self._fail_with(BLOCK_OUT_OF_RANGE)
        elif count:
            self.send_sectors(block * BLOCK_SECTORS, count * BLOCK_SECTORS, self._block_bytes, self._is_dma)
        else:
            self.complete()

    def _read_10(self, packet: bytes) -> None:
        self._read_blocks(int.from_bytes(packet[2:6], "big"), int.from_bytes(packet[7:9], "big"))

    def _read_12(self, packet: bytes) -> None:
        self._read_blocks(int.from_bytes(packet[2:6], "big"), int.from_bytes(packet[6:10], "big"))

    def _read_cd(self, packet: bytes) -> None:
        """READ CD: user data, or nothing, of data sectors."""
        parts = packet[9] & 0xF8
        if parts not in (0x00, 0x10) or packet[10] & 7:
            raise replies.InvalidField
        count = int.from_bytes(packet[6:9], "big") if parts else 0
        self._read_blocks(int.from_bytes(packet[2:6], "big"), count)

    def _seek(self, packet: bytes) -> None:
        if int.from_bytes(packet[2:6], "big") >= self._blocks:
            self._fail_with(BLOCK_OUT_OF_RANGE)
        else:
            self.complete()

    def _read_toc(self, packet: bytes) -> None:
        self._reply(replies.read_toc(packet, self._blocks), _room(packet))

    def _get_configuration(self, packet: bytes) -> None:
        self._reply(replies.get_configuration(packet, self._blocks), _room(packet))

    def _event_status(self, packet: bytes) -> None:
        reply = replies.event_status(packet, self._event, self._is_open, self.disk is not None)
        if len(reply) == 8:
            self._event = NO_EVENT
        self._reply(reply, _room(packet))

    def _disc_information(self, packet: bytes) -> None:
        if packet[1] & 7:
            raise replies.InvalidField
        self._reply(replies.disc_information(), _room(packet))

    def _mode_sense(self, packet: bytes) -> None:
        state = (self._is_locked, self._is_open, self.disk is not None)
        self._reply(replies.mode_sense(packet, *state), _room(packet))

    def _mechanism_status(self, packet: bytes) -> None:
        self._reply(replies.mechanism_status(), int.from_bytes(packet[8:10], "big"))

    def _just_complete(self, packet: bytes) -> None:
        self.complete()

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "settings": asdict(self._settings),
            "sense": list(self._sense),
            "attention": None if self._attention is None else list(self._attention),
            "event": self._event,
            "open": self._is_open,
            "locked": self._is_locked,
            "packet": self._is_packet,
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._settings = Settings(**state["settings"])
        self._sense = _sense(state["sense"])
        self._attention = None if state["attention"] is None else _sense(state["attention"])
        self._event, self._is_open, self._is_locked = state["event"], state["open"], state["locked"]
        self._is_packet = state["packet"]


def _room(packet: bytes) -> int:
    """The allocation length where most packets have it."""
    return int.from_bytes(packet[7:9], "big")


def _sense(values: list[int]) -> Sense:
    key, code, qualifier = values
    return key, code, qualifier


COMMANDS: dict[int, Callable[[AtapiCdrom], None]] = {
    0x00: lambda drive: drive.fail(ABORTED),  # NOP
    0x08: AtapiCdrom._device_reset,
    0x20: AtapiCdrom._refuse_as_packet_device,  # READ SECTOR(S)
    0x90: AtapiCdrom._diagnose_alone,
    0xA0: AtapiCdrom._packet,
    0xA1: AtapiCdrom._identify,
    0xE0: AtapiCdrom.complete,  # STANDBY IMMEDIATE, IDLE IMMEDIATE
    0xE1: AtapiCdrom.complete,
    0xE5: AtapiCdrom._check_power_mode,
    0xE6: AtapiCdrom.complete,  # SLEEP
    0xEC: AtapiCdrom._refuse_as_packet_device,  # IDENTIFY DEVICE
    0xEF: AtapiCdrom._set_features,
}

PACKET_COMMANDS: dict[int, Callable[[AtapiCdrom, bytes], None]] = {
    0x00: AtapiCdrom._just_complete,  # TEST UNIT READY
    0x03: AtapiCdrom._request_sense,
    0x12: AtapiCdrom._inquiry,
    0x1B: AtapiCdrom._start_stop,
    0x1E: AtapiCdrom._prevent_allow,
    0x25: AtapiCdrom._read_capacity,
    0x28: AtapiCdrom._read_10,
    0x2B: AtapiCdrom._seek,
    0x43: AtapiCdrom._read_toc,
    0x46: AtapiCdrom._get_configuration,
    0x4A: AtapiCdrom._event_status,
    0x51: AtapiCdrom._disc_information,
    0x5A: AtapiCdrom._mode_sense,
    0xA8: AtapiCdrom._read_12,
    0xBB: AtapiCdrom._just_complete,  # SET CD SPEED
    0xBD: AtapiCdrom._mechanism_status,
    0xBE: AtapiCdrom._read_cd,
}
NEEDS_MEDIUM = frozenset({0x00, 0x25, 0x28, 0x2B, 0x43, 0x51, 0xA8, 0xBE})
REGARDLESS_OF_ATTENTION = frozenset({0x03, 0x12, 0x46, 0x4A})  # INQUIRY, REQUEST SENSE, GET ... (MMC-3, 4.1.6)
