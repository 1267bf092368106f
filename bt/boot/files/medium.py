"""Is a file a disk, a diskette or a CD: something that firmware boots, rather than a loader of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bt.boot.loaders import elf, linux, multiboot
from bt.boot.loaders.boot_sector import is_boot_sector
from bt.errors import BadImage

Medium = Literal["disk", "floppy", "cdrom"]

_MULTIBOOT_BYTES = 8192  # its header is within them


def medium_of(path: Path) -> Medium | None:
    """What a raw image is, or None: a kernel, or no image of a medium that a BIOS would start. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_MULTIBOOT_BYTES)
    if linux.is_bzimage(head) or elf.is_elf(head):
        return None
    from bt.boot.files import foreign, formats  # which most guests need not wait for

    glance = foreign.glance_at_file(path)
    if any(glance.has(*mark) for mark in formats.FOOTERS):
        return None  # no raw image, though it begins like one
    if glance.has(*formats.ISO_9660):
        return "cdrom"
    if not is_boot_sector(head):
        return None
    if foreign.is_partitioned(head):
        return "disk"
    try:
        if multiboot.find_header(path.name, head) is not None:
            return None
    except BadImage:
        return None  # the loader says what is wrong with it
    return "floppy" if glance.size in [kib * 1024 for kib in formats.FLOPPY_KIB] else "disk"
