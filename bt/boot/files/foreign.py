"""What a file is that is no guest: looked up in `formats.py`, by its first 68 KiB and its last sector.

Imported only when an image is about to be refused: nobody whose guest starts waits for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from bt.boot.files import formats
from bt.boot.files.formats import Format
from bt.boot.loaders.boot_sector import LARGEST, SECTOR, is_boot_sector
from bt.errors import BadImage

HEAD = 0x1_1000  # bytes; the last mark that is looked for, that of btrfs, is at 0x10040

_PARTITIONS, _PARTITION = 0x1BE, struct.Struct("<BBBBBBBBII")
_ACTIVE = 0x80
_FAT_NAMES = {0x36: (b"FAT12   ", b"FAT16   ", b"FAT     "), 0x52: (b"FAT32   ",)}
_PE_OFFSET = 0x3C
_PE_SUBSYSTEM = 0x5C  # behind the signature "PE\0\0", in PE32 and PE32+ alike
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b")


@dataclass(frozen=True)
class Glance:
    """The first `HEAD` bytes of a file, its last `SECTOR`, and its size in bytes."""

    head: bytes
    tail: bytes
    size: int

    def has(self, offset: int, wanted: bytes) -> bool:
        part, start = (self.head, offset) if offset >= 0 else (self.tail, len(self.tail) + offset)
        return start >= 0 and part[start : start + len(wanted)] == wanted


def glance_at(image: bytes) -> Glance:
    return Glance(image[:HEAD], image[-SECTOR:], len(image))


def glance_at_file(path: Path) -> Glance:
    """Raises OSError."""
    with path.open("rb") as file:
        head, size = file.read(HEAD), file.seek(0, 2)
        file.seek(max(0, size - SECTOR))
        return Glance(head, file.read(SECTOR), size)


def refuse_disk(name: str, glance: Glance) -> None:
    """Raise BadImage for a disk image, even if its first sector looks like a boot sector or a boot loader is in it."""
    found = _known(formats.DISKS, glance)
    if found is None and glance.size > LARGEST and is_boot_sector(glance.head) and is_partitioned(glance.head):
        found = formats.PARTITIONED_DISK
    if found is not None:
        raise BadImage(f"{name}: {_sentence(found)}")


def refuse_known(name: str, glance: Glance) -> None:
    """Raise BadImage for everything that has a name."""
    refuse_disk(name, glance)
    found = _known(formats.FILES, glance) or _dos_program(glance.head) or _disk(glance) or _text(glance.head)
    if found is not None:
        raise BadImage(f"{name}: {_sentence(found)}")


def _sentence(found: Format) -> str:
    return f"{found.what}; {found.advice}" if found.advice else f"{found.what}, not a guest"


def _known(table: tuple[Format, ...], glance: Glance) -> Format | None:
    return next((each for each in table if all(glance.has(*mark) for mark in each.marks)), None)


def is_partitioned(sector: bytes) -> bool:
    """Whether bytes 0x1BE on are a partition table, rather than code."""
    entries = [_PARTITION.unpack_from(sector, _PARTITIONS + number * _PARTITION.size) for number in range(4)]
    used = [entry for entry in entries if any(entry)]
    return bool(used) and all(flag in (0, _ACTIVE) and kind and sectors for flag, *_, kind, _, _, _, _, sectors in used)


def _disk(glance: Glance) -> Format | None:
    """One with the boot sector that a BIOS would start. It is no guest by itself: the rest of the disk is missing."""
    if not is_boot_sector(glance.head):
        return None
    if any(glance.has(offset, name) for offset, names in _FAT_NAMES.items() for name in names):
        return formats.FAT_DISK
    if glance.size in [kib * 1024 for kib in formats.FLOPPY_KIB]:
        return formats.FLOPPY
    return formats.BOOTABLE_DISK


def _dos_program(head: bytes) -> Format | None:
    """What an "MZ" header belongs to."""
    if not head.startswith(b"MZ"):
        return None
    new = head[int.from_bytes(head[_PE_OFFSET : _PE_OFFSET + 4], "little") :]
    if not new.startswith(b"PE\0\0"):
        return formats.DOS_SUCCESSORS.get(new[:2], formats.DOS_PROGRAM)
    subsystem = int.from_bytes(new[_PE_SUBSYSTEM : _PE_SUBSYSTEM + 2], "little")
    kind = formats.PE_SUBSYSTEMS.get(subsystem, formats.WINDOWS_PROGRAM)
    machine = formats.PE_MACHINES.get(int.from_bytes(new[4:6], "little"))
    return kind._replace(what=f"{kind.what} for {machine}") if machine else kind


def _text(head: bytes) -> Format | None:
    """UTF-8 without control characters, as far as the head goes (which may end inside a character)."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data" or len(head) < HEAD:
            return None
    return None if not head or set(head) & (frozenset(range(0x20)) - _TEXT_CONTROLS) else formats.TEXT
