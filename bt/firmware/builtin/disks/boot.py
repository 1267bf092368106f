"""INT 19h: the first sector of the first medium that has one for a BIOS; CD-ROMs by El Torito 1.0 (Phoenix, IBM)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom
from bt.firmware.builtin.disks import disk
from bt.firmware.builtin.disks.transfer import CD_BLOCK, GOOD, SECTOR, AtaTransfer
from bt.firmware.builtin.frame import IF, Frame
from bt.firmware.builtin.services import Family
from bt.firmware.builtin.video import text

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

LOAD_ADDRESS = 0x7C00
SIGNATURE = 0xAA55
LETTERS = {"a": 0x00, "c": disk.FIRST_DISK, "d": disk.FIRST_CDROM}
RECORD_BLOCK, CATALOG_AT = 17, 0x47
RECORD, SYSTEM, SYSTEM_AT = b"\x00CD001\x01", b"EL TORITO SPECIFICATION", 7
VALIDATION, BOOTABLE, ENTRY_BYTES = 0x01, 0x88, 32
USUAL_SEGMENT = 0x07C0
NO_EMULATION, HARD_DISK = 0, 4
# media types 1 to 3: 1.2, 1.44 and 2.88 MB
FLOPPY_GEOMETRIES = {1: (80, 2, 15), 2: (80, 2, 18), 3: (80, 2, 36)}
SECTORS_A_BLOCK = CD_BLOCK // SECTOR
PARTITION_END_AT = 0x1BE + 5  # of a disk's first sector: head, sector and cylinder where the first partition ends
SEARCH, BOOT_SECTOR, VOLUME, CATALOG, IMAGE = range(5)  # what is being read


@dataclass
class Emulation:
    """What a CD-ROM has been started as: as drive `drive`, whose `geometry` is none for a CD-ROM as it is.

    `first`: its first sector, of 512 bytes.
    """

    media: int
    drive: int
    cdrom: int
    first: int
    segment: int
    count: int
    geometry: list[int]


@dataclass
class Boot:
    """How far INT 19h has come."""

    tried: int = 0  # letters of the order
    stage: int = SEARCH
    drive: int = 0
    block: int = 0  # of the image
    segment: int = USUAL_SEGMENT
    count: int = 0
    media: int = 0

    def state(self) -> dict[str, Any]:
        return asdict(self)


def bootstrap(bios: Bios, frame: Frame) -> int | None:
    """INT 19h. It does not come back."""
    if bios.boot is None or not bios.goes_on():
        bios.drop_transfer()
        bios.emulation = None
        bios.boot = Boot()
    boot = bios.boot
    while True:
        if boot.stage == SEARCH and not _begin_next(bios, boot):
            return no_medium(bios, frame)
        status = bios.step_transfer()
        if status is None:
            return rom.AGAIN
        bios.transfer = None
        if status != GOOD:
            boot.stage = SEARCH
        elif _go_on(bios, boot):
            _start(bios, boot, frame)
            bios.boot = None
            return None


def _begin_next(bios: Bios, boot: Boot) -> bool:
    """Begin reading from the next medium; False: there is none."""
    order = bios.pc.facts.boot_order
    while boot.tried < len(order):
        number = LETTERS.get(order[boot.tried])
        boot.tried += 1
        drive = disk.find(bios, number) if number is not None else None
        if drive is None:
            continue
        boot.drive = drive.number
        is_cdrom = drive.place is not None and drive.place.is_cdrom
        if drive.place is None and bios.pc.cmos(0x10) >> 4 == 0:
            continue
        boot.stage = VOLUME if is_cdrom else BOOT_SECTOR
        _read(bios, boot, RECORD_BLOCK if is_cdrom else 0, 1, LOAD_ADDRESS)
        return True
    return False


def _read(bios: Bios, boot: Boot, lba: int, count: int, address: int) -> None:
    drive = disk.find(bios, boot.drive)
    assert drive is not None, "it was found before"
    bios.begin(disk.transfer_of(bios, drive, bios.frame_at, lba, count, address, "read"))


def _go_on(bios: Bios, boot: Boot) -> bool:
    """What was asked for has been read. True: it can be started."""
    pc = bios.pc
    match boot.stage:
        case 1:  # BOOT_SECTOR
            if pc.word(LOAD_ADDRESS + SECTOR - 2) == SIGNATURE:
                return True
            boot.stage = SEARCH
        case 2:  # VOLUME
            record = pc.read(LOAD_ADDRESS, CD_BLOCK)
            if record.startswith(RECORD) and record[SYSTEM_AT:].startswith(SYSTEM):
                boot.stage = CATALOG
                _read(bios, boot, int.from_bytes(record[CATALOG_AT : CATALOG_AT + 4], "little"), 1, LOAD_ADDRESS)
            else:
                boot.stage = SEARCH
        case 3:  # CATALOG
            if not _read_catalog(bios, boot, pc.read(LOAD_ADDRESS, CD_BLOCK)):
                boot.stage = SEARCH
        case _:
            _emulate(bios, boot)
            return True
    return False


def _read_catalog(bios: Bios, boot: Boot, catalog: bytes) -> bool:
    """The initial entry (section 2.2); False: it is not for us."""
    words = sum(int.from_bytes(catalog[at : at + 2], "little") for at in range(0, ENTRY_BYTES, 2))
    entry = catalog[ENTRY_BYTES : 2 * ENTRY_BYTES]
    if catalog[0] != VALIDATION or words & 0xFFFF or entry[0] != BOOTABLE:
        return False
    boot.media = entry[1] & 0x0F
    boot.segment = int.from_bytes(entry[2:4], "little") or USUAL_SEGMENT
    boot.count = int.from_bytes(entry[6:8], "little")
    boot.block = int.from_bytes(entry[8:12], "little")
    if boot.media > HARD_DISK or not boot.count:
        return False
    boot.stage = IMAGE
    blocks = -(-boot.count // SECTORS_A_BLOCK)
    place = disk.cdroms(bios)[0]
    bios.begin(
        AtaTransfer(bios.frame_at, place.channel, place.position, True, boot.block, blocks, boot.segment << 4, 0,
                    boot.count * SECTOR)
    )  # fmt: skip
    return True


def _emulate(bios: Bios, boot: Boot) -> None:
    geometry: list[int] = []
    if boot.media == HARD_DISK:
        end = bios.pc.read((boot.segment << 4) + PARTITION_END_AT, 3)
        geometry = [(end[2] | end[1] << 2 & 0x300) + 1, end[0] + 1, end[1] & 0x3F]
        boot.drive = disk.FIRST_DISK
    elif boot.media in FLOPPY_GEOMETRIES:
        geometry = list(FLOPPY_GEOMETRIES[boot.media])
        boot.drive = 0
    first = boot.block * SECTORS_A_BLOCK
    bios.emulation = Emulation(boot.media, boot.drive, 0, first, boot.segment, boot.count, geometry)
    bios.pc.put_byte(area.DISK_COUNT, disk.disk_count(bios))


def _start(bios: Bios, boot: Boot, frame: Frame) -> None:
    frame.cs, frame.ip = (
        (boot.segment, 0) if boot.stage == IMAGE and boot.segment != USUAL_SEGMENT else (0, LOAD_ADDRESS)
    )
    frame.flags = IF | 0x02
    frame.ds = frame.es = 0
    frame.eax, frame.edx = SIGNATURE, boot.drive
    frame.ebx = frame.ecx = frame.esi = frame.edi = frame.ebp = 0


def no_medium(bios: Bios, frame: Frame) -> int:
    """INT 18h, or nothing is left to try: the run ends."""
    for character in b"\r\nNo bootable device.\r\n":
        text.write_teletype(bios.pc, character, 0, 7)
    names = {"a": "diskette", "c": "disk", "d": "CD-ROM", "n": "network"}
    tried = ", ".join(names[letter] for letter in bios.pc.facts.boot_order)
    bios.stop(f"nothing to boot (tried: {tried}); give a disk, or the order with -boot; network boot needs SeaBIOS")
    return rom.AGAIN


def basic(bios: Bios, frame: Frame) -> int:
    """INT 18h: what the PC had in ROM where nothing boots."""
    return no_medium(bios, frame)


BOOTSTRAP = Family({}, bootstrap)
NO_DISK = Family({}, basic)
