"""A hard disk with an ATA interface (ATA/ATAPI-6, T13 1410D; commands are clause 8's)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bt.clock.virtual_clock import VirtualClock
from bt.devices.storage.ata.ata_device import (
    ABORTED,
    COUNT,
    DEVICE,
    FEATURES,
    LBA_HIGH,
    LBA_LOW,
    LBA_MID,
    NOT_FOUND,
    READY,
    SEEK_COMPLETE,
    UNCORRECTABLE,
    AtaDevice,
    Phase,
)
from bt.devices.storage.ata.ata_identify import (
    LBA28_SECTORS,
    MAX_MULTIPLE,
    MULTIWORD_DMA_MODES,
    ULTRA_DMA_MODES,
    Settings,
    identify_disk,
)
from bt.devices.storage.disk_port import Post
from bt.disks.disk import Disk
from bt.disks.image import SECTOR_BYTES

USES_LBA = 0x40  # DEVICE: else the address is a cylinder, a head and a sector
SPECIFIES_MODE = 0x03  # SET FEATURES
PIO_DEFAULT, PIO, MULTIWORD_DMA, ULTRA_DMA = 0, 1, 4, 8  # COUNT of it, bits 7:3


@dataclass(frozen=True, slots=True)
class Transfer:
    """A command that reads, writes or verifies sectors."""

    writes: bool = False
    dma: bool = False
    multiple: bool = False  # in blocks of several sectors
    wide: bool = False  # EXT: a 48-bit address and a 16-bit count
    moves: bool = True  # not VERIFY


TRANSFERS = {
    0x20: Transfer(),  # READ SECTOR(S); the next code is the same without retries, obsolete since ATA-5
    0x21: Transfer(),
    0x24: Transfer(wide=True),
    0x25: Transfer(wide=True, dma=True),
    0x29: Transfer(wide=True, multiple=True),
    0x30: Transfer(writes=True),
    0x31: Transfer(writes=True),
    0x34: Transfer(writes=True, wide=True),
    0x35: Transfer(writes=True, wide=True, dma=True),
    0x39: Transfer(writes=True, wide=True, multiple=True),
    0x40: Transfer(moves=False),  # READ VERIFY SECTOR(S)
    0x41: Transfer(moves=False),
    0x42: Transfer(moves=False, wide=True),
    0xC4: Transfer(multiple=True),
    0xC5: Transfer(writes=True, multiple=True),
    0xC8: Transfer(dma=True),
    0xC9: Transfer(dma=True),
    0xCA: Transfer(writes=True, dma=True),
    0xCB: Transfer(writes=True, dma=True),
}


class AtaDisk(AtaDevice):
    """Its settings, its addresses, its commands. A disk whose image is read-only aborts what writes.

    Left out, and announced as such: host protected area but for READ NATIVE MAX, SMART, security, power-up in standby,
    queues, streams. Power modes change nothing: the disk always spins.
    """

    signature = (1, 1, 0, 0)
    status_after_reset = READY | SEEK_COMPLETE

    def __init__(
        self,
        clock: VirtualClock,
        disk: Disk,
        serial: str = "BT00001",
        model: str = "BT HARDDISK",
        post: Post | None = None,
    ) -> None:
        super().__init__(clock, disk, post)
        self._disk = disk
        self._serial, self._model = serial, model
        self._settings = Settings()
        self._wide = False  # of the transfer under way
        self._runs_out = False  # it goes beyond the last sector
        self.diagnose()

    def reset(self) -> None:
        self._settings = Settings()
        super().reset()

    def execute(self, command: int) -> None:
        self._runs_out = False
        transfer = TRANSFERS.get(command)
        if transfer is not None:
            self._transfer(transfer)
            return
        handler = COMMANDS.get(command)
        if handler is None:
            self.fail(ABORTED)
        else:
            handler(self)

    # Sectors

    def _transfer(self, transfer: Transfer) -> None:
        settings = self._settings
        refused = (
            (transfer.writes and self._disk.read_only)
            or (transfer.multiple and not settings.multiple)
            or (transfer.dma and self.dma is None)
        )
        if refused:
            self.fail(ABORTED)
            return
        self._wide = transfer.wide
        task, previous = self.task, self.previous
        count = task[COUNT] | previous[COUNT] << 8 if transfer.wide else task[COUNT]
        count = count or (0x10000 if transfer.wide else 0x100)
        lba = self._address()
        sectors = self._disk.sectors
        if lba is None or lba >= sectors:
            self.fail(NOT_FOUND)
            return
        if lba + count > sectors:
            self._runs_out = True
            count = sectors - lba
        block_bytes = (settings.multiple if transfer.multiple else 1) * SECTOR_BYTES
        if not transfer.moves:
            self.verify_sectors(lba, count)
        elif transfer.writes:
            self.take_sectors(lba, count, block_bytes, transfer.dma)
        else:
            self.send_sectors(lba, count, block_bytes, transfer.dma)

    def _address(self) -> int | None:
        """The sector that the registers mean; None if there cannot be one."""
        task, previous = self.task, self.previous
        low, mid, high = task[LBA_LOW], task[LBA_MID], task[LBA_HIGH]
        if self._wide:
            upper = previous[LBA_LOW] << 24 | previous[LBA_MID] << 32 | previous[LBA_HIGH] << 40
            return low | mid << 8 | high << 16 | upper
        if task[DEVICE] & USES_LBA:
            return low | mid << 8 | high << 16 | (task[DEVICE] & 0xF) << 24
        settings = self._settings
        head = task[DEVICE] & 0xF
        if not 1 <= low <= settings.sectors_per_track or head >= settings.heads:
            return None
        return ((mid | high << 8) * settings.heads + head) * settings.sectors_per_track + low - 1

    def _show_address(self, lba: int) -> None:
        task, previous = self.task, self.previous
        if self._wide:
            previous[LBA_LOW : LBA_HIGH + 1] = (lba >> 24).to_bytes(3, "little")
        elif not task[DEVICE] & USES_LBA:
            settings = self._settings
            track, sector = divmod(lba, settings.sectors_per_track)
            cylinder, head = divmod(track, settings.heads)
            task[LBA_LOW : LBA_HIGH + 1] = bytes((sector + 1 & 0xFF, cylinder & 0xFF, cylinder >> 8 & 0xFF))
            task[DEVICE] = task[DEVICE] & 0xF0 | head
            return
        else:
            task[DEVICE] = task[DEVICE] & 0xF0 | lba >> 24 & 0xF
        task[LBA_LOW : LBA_HIGH + 1] = (lba & 0xFFFFFF).to_bytes(3, "little")

    def all_sent(self) -> None:
        if self._runs_out:
            self.pause(Phase.FINISHING)
        else:
            super().all_sent()

    def all_written(self) -> None:
        if self._settings.write_cache:
            self.finish()
        else:
            self.flush()

    def finish(self) -> None:
        """What is there has moved; the first sector that is not there is an error."""
        if self._runs_out:
            self._show_address(self._disk.sectors)
            self.fail(NOT_FOUND)
        else:
            self.complete()

    def disk_failed(self, error: OSError) -> None:
        """A medium error where the chunk begins; what a host cannot store is not there (6.2, and 8.36.6 for READ)."""
        is_read = self.phase in (Phase.READING, Phase.VERIFYING)
        if self.phase != Phase.FLUSHING:
            self._show_address(self._lba)
        self.fail(UNCORRECTABLE if is_read else ABORTED)

    # Other commands

    def _identify(self) -> None:
        self.send(identify_disk(self._settings, self._disk.sectors, self._serial, self._model), SECTOR_BYTES)

    def _diagnose_alone(self) -> None:
        self.diagnose()
        self.interrupt(True)

    def _initialize_parameters(self) -> None:
        """INITIALIZE DEVICE PARAMETERS: the translation of cylinders, heads and sectors (ATA-3, 8.16)."""
        track = self.task[COUNT]
        if track == 0:
            self.fail(ABORTED)
            return
        self._settings.heads, self._settings.sectors_per_track = (self.task[DEVICE] & 0xF) + 1, track
        self.complete()

    def _set_multiple(self) -> None:
        count = self.task[COUNT]
        if count & count - 1 or count > MAX_MULTIPLE:
            self.fail(ABORTED)
            return
        self._settings.multiple = count
        self.complete()

    def _set_features(self) -> None:
        if set_feature(self._settings, self.task[FEATURES], self.task[COUNT]):
            self.complete()
        else:
            self.fail(ABORTED)

    def _check_power_mode(self) -> None:
        self.task[COUNT] = 0xFF  # active or idle
        self.complete()

    def _read_native_max(self) -> None:
        self._wide = False
        if not self.task[DEVICE] & USES_LBA:
            self.fail(ABORTED)
            return
        self._show_address(min(self._disk.sectors, LBA28_SECTORS) - 1)
        self.complete()

    def _read_native_max_ext(self) -> None:
        self._wide = True
        self._show_address(self._disk.sectors - 1)
        self.complete()

    def _device_reset(self) -> None:
        """DEVICE RESET is a packet device's."""
        self.fail(ABORTED)

    def state(self) -> dict[str, Any]:
        own = {"settings": asdict(self._settings), "wide": self._wide, "runs_out": self._runs_out}
        return super().state() | own

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._settings = Settings(**state["settings"])
        self._wide, self._runs_out = state["wide"], state["runs_out"]


def set_feature(settings: Settings, feature: int, value: int) -> bool:
    """SET FEATURES (8.46); False if there is no such thing here."""
    match feature:
        case 0x02 | 0x82:
            settings.write_cache = feature == 0x02
        case 0x55 | 0xAA:
            settings.look_ahead = feature == 0xAA
        case 0x66 | 0xCC:  # whether a software reset brings defaults back: it never does
            pass
        case 0x03:
            return _set_mode(settings, value >> 3, value & 7)
        case _:
            return False
    return True


def _set_mode(settings: Settings, kind: int, mode: int) -> bool:
    match kind:
        case 0 if mode <= 1:
            settings.multiword_dma = settings.ultra_dma = None
        case 1 if mode <= 4:  # PIO with IORDY: DMA modes stay as they are
            pass
        case 4 if mode < MULTIWORD_DMA_MODES:
            settings.multiword_dma, settings.ultra_dma = mode, None
        case 8 if mode < ULTRA_DMA_MODES:
            settings.multiword_dma, settings.ultra_dma = None, mode
        case _:
            return False
    return True


COMMANDS: dict[int, Callable[[AtaDisk], None]] = {
    0x00: lambda disk: disk.fail(ABORTED),  # NOP
    0x08: AtaDisk._device_reset,
    0x10: AtaDisk.complete,  # RECALIBRATE
    0x27: AtaDisk._read_native_max_ext,
    0x70: AtaDisk.complete,  # SEEK
    0x90: AtaDisk._diagnose_alone,
    0x91: AtaDisk._initialize_parameters,
    0xC6: AtaDisk._set_multiple,
    0xE7: AtaDisk.flush,
    0xEA: AtaDisk.flush,  # EXT
    0xEC: AtaDisk._identify,
    0xEF: AtaDisk._set_features,
    0xF8: AtaDisk._read_native_max,
}
for old, new in enumerate(range(0xE0, 0xE4), 0x94):  # STANDBY and IDLE, at once and after a time; obsolete codes too
    COMMANDS[old] = COMMANDS[new] = AtaDisk.complete
COMMANDS[0x98] = COMMANDS[0xE5] = AtaDisk._check_power_mode
COMMANDS[0x99] = COMMANDS[0xE6] = AtaDisk.complete  # SLEEP: wakes at any access
