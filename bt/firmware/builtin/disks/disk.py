"""INT 13h: diskettes, hard disks by cylinder, head and sector (IBM PC/AT Technical Reference), and by number and what
else there is for CD-ROMs (Phoenix, BIOS Enhanced Disk Drive Specification 3.0; El Torito 1.0)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bt.devices.storage.ata.ata_identify import HEADS, SECTORS_PER_TRACK, default_cylinders
from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom
from bt.firmware.builtin.disks import floppy
from bt.firmware.builtin.disks import transfer as transfers
from bt.firmware.builtin.disks.direct import DirectTransfer
from bt.firmware.builtin.disks.floppy import FORMATS, FloppyTransfer
from bt.firmware.builtin.disks.transfer import BAD_PARAMETER, CD_BLOCK, GOOD, SECTOR, AtaTransfer
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.pc import AtaPlace, DirectPlace, Place, linear
from bt.firmware.builtin.services import Family, Service

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios
    from bt.firmware.builtin.disks.transfer import Transfer

FIRST_DISK, FIRST_CDROM = 0x80, 0xE0
MOST_TRANSFER = 127  # sectors by CHS beyond which the count is none
CYLINDERS = 1024
SPARE_CYLINDERS = 1  # the last one is for diagnostics (IBM PC/AT Technical Reference), and not told of
EXTENSIONS_MAGIC, EXTENSIONS_ANSWER = 0x55AA, 0xAA55
EXTENSIONS_VERSION, EXTENSIONS_FIXED, EXTENSIONS_LOCKING = 0x21, 1 << 0, 1 << 1
PACKET_BYTES, FLAT_PACKET_BYTES = 16, 24
PARAMETER_BYTES = 26
SPECIFICATION_BYTES = 0x13
CHS_VALID, REMOVABLE, CHANGE_LINE, LOCKABLE, GEOMETRY_INVALID = 1 << 1, 1 << 2, 1 << 4, 1 << 5, 1 << 6
FLOPPY_TYPE, CHANGE_LINE_TYPE, DISK_TYPE = 1, 2, 3
CHANGED = 0x06


class Chs(NamedTuple):
    cylinders: int
    heads: int
    sectors: int


def translated(sectors: int) -> Chs:
    """What a disk pretends to be, LBA assisted (Phoenix, "BIOS Enhanced Disk Drive"): at most 1024 cylinders."""
    tracks = sectors // SECTORS_PER_TRACK
    if sectors > SECTORS_PER_TRACK * 255 * CYLINDERS:
        return Chs(CYLINDERS, 255, SECTORS_PER_TRACK)
    wanted = tracks // CYLINDERS
    heads = next((heads for heads in (16, 32, 64, 128) if wanted <= heads), 255)
    return Chs(max(1, min(tracks // heads, CYLINDERS)), heads, SECTORS_PER_TRACK)


class Drive(NamedTuple):
    """What DL names. An emulated one is `sectors` of a CD-ROM from sector (of 512 bytes) `first` on."""

    number: int
    geometry: Chs
    sectors: int  # units of `unit` bytes
    place: Place | None  # else a diskette drive
    kind: int = 0  # of that
    first: int = 0
    is_emulated: bool = False

    @property
    def unit(self) -> int:
        return CD_BLOCK if self.place is not None and self.place.is_cdrom and not self.is_emulated else SECTOR

    @property
    def is_floppy(self) -> bool:
        return self.number < FIRST_DISK

    @property
    def can_write(self) -> bool:
        return self.place is None or not self.place.is_cdrom


def hard_disks(bios: Bios) -> list[Place]:
    return [place for place in bios.pc.facts.drives if not place.is_cdrom]


def cdroms(bios: Bios) -> list[AtaPlace]:
    return [place for place in bios.pc.facts.drives if isinstance(place, AtaPlace) and place.is_cdrom]


def find(bios: Bios, number: int) -> Drive | None:
    """The drive that DL is for now: one that is emulated comes before the others of its kind."""
    emulated = bios.emulation
    if emulated is not None:
        if number == emulated.drive:
            if not emulated.geometry:
                return Drive(number, Chs(0, 0, 0), 0, cdroms(bios)[emulated.cdrom])
            chs = Chs(*emulated.geometry)
            total = chs.cylinders * chs.heads * chs.sectors
            return Drive(number, chs, total, cdroms(bios)[emulated.cdrom], 4, emulated.first, is_emulated=True)
        if emulated.geometry and number & 0x80 == emulated.drive and number < FIRST_CDROM:
            number -= 1
    if number < FIRST_DISK:
        kinds = bios.pc.facts.floppies
        form = FORMATS.get(kinds[number]) if number < len(kinds) else None
        if form is None:
            return None
        chs = Chs(form.cylinders, 2, form.sectors)
        return Drive(number, chs, chs.cylinders * 2 * chs.sectors, None, kinds[number])
    disks = hard_disks(bios)
    if number - FIRST_DISK < len(disks):
        place = disks[number - FIRST_DISK]
        return Drive(number, translated(place.sectors), place.sectors, place)
    discs = cdroms(bios)
    if FIRST_CDROM <= number < FIRST_CDROM + len(discs):
        return Drive(number, Chs(0, 0, 0), 0, discs[number - FIRST_CDROM])
    return None


def disk_count(bios: Bios) -> int:
    emulated = bios.emulation
    extra = emulated is not None and bool(emulated.geometry) and emulated.drive == FIRST_DISK
    return len(hard_disks(bios)) + extra


# -- what services have in common -------------------------------------------------------------------------------------


def _status_at(number: int) -> int:
    return area.FLOPPY_STATUS if number < FIRST_DISK else area.DISK_STATUS


def _finish(bios: Bios, frame: Frame, code: int) -> None:
    bios.pc.put_byte(_status_at(frame.dl), code)
    frame.ah = code
    frame.carry = code != GOOD


def _run(bios: Bios, frame: Frame, make: Service, finish: Callable[[Bios, Frame, int], None]) -> int | None:
    """Begin what `make` makes of the call, or go on with it; `finish` when it is over."""
    if not bios.goes_on():
        bios.drop_transfer()
        make(bios, frame)
        if bios.transfer is None:
            return None  # refused
    status = bios.step_transfer()
    if status is None:
        return rom.AGAIN
    finish(bios, frame, status)
    bios.transfer = None
    _finish(bios, frame, status)
    return None


def _refuse(bios: Bios, frame: Frame, code: int = BAD_PARAMETER) -> None:
    _finish(bios, frame, code)


def transfer_of(bios: Bios, drive: Drive, owner: int, lba: int, count: int, address: int, command: str) -> Transfer:
    """For `count` units from `lba` on."""
    place = drive.place
    if place is None:
        chs = drive.geometry
        track, sector = divmod(lba, chs.sectors)
        cylinder, head = divmod(track, chs.heads)
        return FloppyTransfer(owner, drive.number, drive.kind, cylinder, head, sector + 1, count, address, command)
    if isinstance(place, DirectPlace):
        return DirectTransfer(owner, place.number, lba, count, address, command)
    if not drive.is_emulated:
        return AtaTransfer.of(owner, place, lba, count, address, command)
    start = (drive.first + lba) * SECTOR
    end = start + count * SECTOR
    first_block = start // CD_BLOCK
    blocks = -(-end // CD_BLOCK) - first_block
    return AtaTransfer(owner, place.channel, place.position, True, first_block, blocks, address, start % CD_BLOCK,
                       count * SECTOR, command)  # fmt: skip


# -- by cylinder, head and sector -------------------------------------------------------------------------------------


def reset(bios: Bios, frame: Frame) -> None:
    """AH=00h: controller and drive DL."""
    bios.drop_transfer()
    drive = find(bios, frame.dl)
    if drive is None:
        _refuse(bios, frame)
        return
    if drive.place is None:
        floppy.reset(bios.pc)
    elif isinstance(drive.place, AtaPlace):
        transfers.reset(bios.pc, drive.place.channel)
    _finish(bios, frame, GOOD)


def get_status(bios: Bios, frame: Frame) -> None:
    """AH=01h: that of the operation before, in AH and CF."""
    code = bios.pc.byte(_status_at(frame.dl))
    _finish(bios, frame, code)


def _chs(command: str, has_count: bool = True) -> Service:
    def make(bios: Bios, frame: Frame) -> None:
        drive = find(bios, frame.dl)
        cylinder, sector = frame.ch | frame.cl << 2 & 0x300, frame.cl & 0x3F
        count = frame.al if has_count else 1
        if drive is None or not 0 < count <= 0x80:
            _refuse(bios, frame)
            return
        chs = drive.geometry
        if cylinder >= chs.cylinders or frame.dh >= chs.heads or not 0 < sector <= chs.sectors:
            _refuse(bios, frame)
            return
        if command == "write" and not drive.can_write:
            _refuse(bios, frame, transfers.WRITE_PROTECTED)
            return
        lba = (cylinder * chs.heads + frame.dh) * chs.sectors + sector - 1
        if drive.place is not None and lba + count > drive.sectors:
            _refuse(bios, frame, transfers.SECTOR_NOT_FOUND if lba >= drive.sectors else BAD_PARAMETER)
            return
        bios.begin(transfer_of(bios, drive, bios.frame_at, lba, count, linear(frame.es, frame.bx), command))

    def finish(bios: Bios, frame: Frame, status: int) -> None:
        if status and bios.transfer is not None:
            frame.al = bios.transfer.done_sectors

    def service(bios: Bios, frame: Frame) -> int | None:
        """AL sectors from CH, CL (cylinder, sector), DH (head) on; ES:BX the buffer."""
        return _run(bios, frame, make, finish)

    return service


def format_track(bios: Bios, frame: Frame) -> int | None:
    """AH=05h: ES:BX has C, H, R, N of each sector of a diskette's track. Of a hard disk nothing is to be formatted."""
    drive = find(bios, frame.dl)
    if drive is None or (drive.is_floppy and (frame.ch >= drive.geometry.cylinders or frame.dh > 1)):
        _refuse(bios, frame)
        return None
    if drive.place is not None:
        _refuse(bios, frame, GOOD if drive.can_write else transfers.WRITE_PROTECTED)
        return None

    def make(bios: Bios, frame: Frame) -> None:
        table = bios.pc.word(4 * area.DISKETTE_TABLE_VECTOR), bios.pc.word(4 * area.DISKETTE_TABLE_VECTOR + 2)
        fill = bios.pc.byte(linear(table[1], table[0]) + 8)
        bios.begin(
            FloppyTransfer(bios.frame_at, frame.dl, drive.kind, frame.ch, frame.dh, 1, 0,
                           linear(frame.es, frame.bx), "format", fill)
        )  # fmt: skip

    return _run(bios, frame, make, lambda bios, frame, status: None)


def parameters(bios: Bios, frame: Frame) -> None:
    """AH=08h: CH, CL, DH the last cylinder, sector and head; DL drives; BL and ES:DI of diskettes."""
    drive = find(bios, frame.dl)
    if drive is None or not drive.geometry.sectors:
        if frame.dl < FIRST_DISK:  # a drive that is not there has nothing of everything
            frame.bx = frame.cx = frame.dx = 0
            frame.es = frame.di = 0
            frame.dl = _floppy_count(bios)
        _refuse(bios, frame)
        return
    chs = drive.geometry
    last = chs.cylinders - (1 if drive.is_floppy else 1 + SPARE_CYLINDERS)
    frame.ch = last & 0xFF
    frame.cl = chs.sectors | last >> 2 & 0xC0
    frame.dh = chs.heads - 1
    if drive.is_floppy:
        frame.bx = drive.kind
        frame.es, frame.di = rom.SEGMENT, rom.DISKETTE_PARAMETERS
        number, frame.dl = frame.dl, _floppy_count(bios)
    else:
        number, frame.dl = frame.dl, disk_count(bios)
    bios.pc.put_byte(_status_at(number), GOOD)
    frame.al = 0
    frame.succeed()


def _floppy_count(bios: Bios) -> int:
    return sum(kind in FORMATS for kind in bios.pc.facts.floppies)


def just_there(bios: Bios, frame: Frame) -> None:
    """AH=09h, 0Ch, 0Dh, 10h, 11h, 14h: nothing is to be done, if the drive is there."""
    drive = find(bios, frame.dl)
    _finish(bios, frame, BAD_PARAMETER if drive is None or drive.is_floppy else GOOD)


def drive_type(bios: Bios, frame: Frame) -> None:
    """AH=15h: AH 0 none, 1 diskettes, 2 with a change line, 3 hard disk: CX:DX sectors."""
    drive = find(bios, frame.dl)
    if drive is None or (drive.place is not None and drive.place.is_cdrom and not drive.is_emulated):
        if frame.dl < FIRST_DISK:
            frame.ah, frame.carry = 0, False
        else:
            _refuse(bios, frame)
        return
    frame.carry = False
    if drive.is_floppy:
        frame.ah = CHANGE_LINE_TYPE if drive.kind > 1 else FLOPPY_TYPE
        return
    cylinders, heads, track = drive.geometry
    sectors = max(cylinders - SPARE_CYLINDERS, 1) * heads * track
    frame.ah, frame.cx, frame.dx = DISK_TYPE, sectors >> 16, sectors & 0xFFFF


def change_line(bios: Bios, frame: Frame) -> None:
    """AH=16h: AH=06h and CF: the diskette has been changed."""
    drive = find(bios, frame.dl)
    if drive is None or not drive.is_floppy:
        _refuse(bios, frame)
    elif drive.place is None and floppy.has_changed(bios.pc, frame.dl):
        _refuse(bios, frame, CHANGED)
    else:
        _finish(bios, frame, GOOD)


def set_media_type(bios: Bios, frame: Frame) -> None:
    """AH=17h, 18h: what is to be formatted; AH=18h: ES:DI the parameters."""
    drive = find(bios, frame.dl)
    if drive is None or drive.place is not None:
        _refuse(bios, frame)
        return
    if frame.ah == 0x18:
        frame.es, frame.di = rom.SEGMENT, rom.DISKETTE_PARAMETERS
    _finish(bios, frame, GOOD)


# -- by number --------------------------------------------------------------------------------------------------------


def has_extensions(bios: Bios, frame: Frame) -> None:
    """AH=41h: BX=55AAh; answers AA55h, the version in AH, CX what there is."""
    drive = find(bios, frame.dl)
    if frame.bx != EXTENSIONS_MAGIC or drive is None or drive.is_floppy:
        _refuse(bios, frame)
        return
    frame.bx = EXTENSIONS_ANSWER
    frame.ah, frame.carry = EXTENSIONS_VERSION, False
    frame.cx = EXTENSIONS_FIXED | (EXTENSIONS_LOCKING if drive.unit == CD_BLOCK else 0)


def _by_number(command: str) -> Service:
    def make(bios: Bios, frame: Frame) -> None:
        pc, drive = bios.pc, find(bios, frame.dl)
        if drive is None or drive.is_floppy:
            _refuse(bios, frame)
            return
        at = linear(frame.ds, frame.si)
        size, _, count, offset, segment, lba = struct.unpack("<BBHHHQ", pc.read(at, PACKET_BYTES))
        address = linear(segment, offset)
        if size >= FLAT_PACKET_BYTES and segment == offset == 0xFFFF:
            address = int.from_bytes(pc.read(at + PACKET_BYTES, 8), "little") & 0xF_FFFF_FFFF
        limit = drive.sectors if drive.unit == SECTOR else 1 << 32
        if size < PACKET_BYTES or lba + count > limit:
            pc.put_word(at + 2, 0)
            _refuse(bios, frame)
        elif command == "write" and not drive.can_write:
            pc.put_word(at + 2, 0)
            _refuse(bios, frame, transfers.WRITE_PROTECTED)
        elif count == 0:
            _finish(bios, frame, GOOD)
        else:
            bios.begin(transfer_of(bios, drive, bios.frame_at, lba, count, address, command))

    def finish(bios: Bios, frame: Frame, status: int) -> None:
        if bios.transfer is not None:
            bios.pc.put_word(linear(frame.ds, frame.si) + 2, bios.transfer.done_sectors)

    def service(bios: Bios, frame: Frame) -> int | None:
        """DS:SI a packet: size, count, buffer, number of the first sector."""
        return _run(bios, frame, make, finish)

    return service


def seek_by_number(bios: Bios, frame: Frame) -> None:
    """AH=47h."""
    drive = find(bios, frame.dl)
    _finish(bios, frame, BAD_PARAMETER if drive is None or drive.is_floppy else GOOD)


def lock(bios: Bios, frame: Frame) -> None:
    """AH=45h: AL=0 locks, 1 unlocks, 2 asks; AH=46h ejects. No medium can be taken out."""
    drive = find(bios, frame.dl)
    if drive is None or drive.is_floppy:
        _refuse(bios, frame)
        return
    frame.al = 0
    _finish(bios, frame, GOOD)


def extended_parameters(bios: Bios, frame: Frame) -> None:
    """AH=48h: DS:SI a buffer whose first word is its size."""
    pc, drive = bios.pc, find(bios, frame.dl)
    at = linear(frame.ds, frame.si)
    if drive is None or drive.is_floppy or pc.word(at) < PARAMETER_BYTES:
        _refuse(bios, frame)
        return
    if drive.unit == CD_BLOCK:
        chs, flags, total = (
            Chs(0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF),
            REMOVABLE | CHANGE_LINE | LOCKABLE | GEOMETRY_INVALID,
            -1,
        )
    else:
        chs, flags, total = Chs(default_cylinders(drive.sectors), HEADS, SECTORS_PER_TRACK), CHS_VALID, drive.sectors
    table = struct.pack("<HHIIIQH", PARAMETER_BYTES, flags, *chs, total & 0xFFFF_FFFF_FFFF_FFFF, drive.unit)
    pc.write(at, table)
    _finish(bios, frame, GOOD)


def set_hardware(bios: Bios, frame: Frame) -> None:
    """AH=4Eh: AL 1, 4, 6: without DMA and prefetch; the others cannot be."""
    drive = find(bios, frame.dl)
    if drive is None or drive.is_floppy or frame.al not in (0x01, 0x03, 0x04, 0x06):
        _refuse(bios, frame)
        return
    frame.al = 0
    _finish(bios, frame, GOOD)


def emulation(bios: Bios, frame: Frame) -> None:
    """AH=4Bh: AL=0 ends emulation, 1 asks: DS:SI the specification packet (El Torito, section 4.1)."""
    emulated = bios.emulation
    if emulated is None or frame.al > 1:
        _refuse(bios, frame)
        return
    chs = emulated.geometry or (0, 0, 0)
    last = max(chs[0] - 1, 0)
    packet = struct.pack(
        "<BBBBIHHHHBBB", SPECIFICATION_BYTES, emulated.media, emulated.drive, emulated.cdrom, emulated.first // 4, 0, 0,
        emulated.segment, emulated.count, last & 0xFF, chs[2] | last >> 2 & 0xC0, max(chs[1] - 1, 0),
    )  # fmt: skip
    bios.pc.write(linear(frame.ds, frame.si), packet)
    if frame.al == 0:
        bios.emulation = None
    _finish(bios, frame, GOOD)


def unknown(bios: Bios, frame: Frame) -> None:
    bios.note_missing(frame)
    _refuse(bios, frame)


FUNCTIONS: dict[int, Service] = {
    0x00: reset,
    0x01: get_status,
    0x02: _chs("read"),
    0x03: _chs("write"),
    0x04: _chs("verify"),
    0x05: format_track,
    0x08: parameters,
    **dict.fromkeys((0x09, 0x0C, 0x0D, 0x10, 0x11, 0x14), just_there),
    0x15: drive_type,
    0x16: change_line,
    0x17: set_media_type,
    0x18: set_media_type,
    0x41: has_extensions,
    0x42: _by_number("read"),
    0x43: _by_number("write"),
    0x44: _by_number("verify"),
    0x45: lock,
    0x46: lock,
    0x47: seek_by_number,
    0x48: extended_parameters,
    0x4B: emulation,
    0x4E: set_hardware,
}
FAMILY = Family(FUNCTIONS, unknown)
