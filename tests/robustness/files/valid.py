"""Small valid files of each kind that a command line names, to be spoilt."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from typing import NamedTuple

import guest_images
from tests.boot.images import bzimage, multiboot_elf, multiboot_raw
from tests.boot.loaders.test_multiboot2 import kernel as multiboot2
from tests.boot.loaders.test_pvh import kernel as pvh

BLOCK = 2048
HALT = b"\xfa\xf4"  # cli; hlt
BUILTIN = ("-bios", "builtin")


class Kind(NamedTuple):
    """A kind of file: how to make one, the command line that FILE stands for it in, and where what matters is."""

    name: str
    make: Callable[[], bytes]
    command: tuple[str, ...]
    fields: tuple[range, ...]  # offsets that mutations prefer


def boot_sector(code: bytes = HALT) -> bytes:
    return code.ljust(510, b"\0") + b"\x55\xaa"


def disk() -> bytes:
    """An MBR with one active partition."""
    sector = bytearray(boot_sector())
    sector[0x1BE:0x1CE] = struct.pack("<B3sB3sII", 0x80, b"\1\1\0", 0x83, b"\1\2\3", 1, 100)
    return bytes(sector) + bytes(127 * 512)


def diskette() -> bytes:
    """FAT12's parameters, and code that halts."""
    parameters = b"\xeb\x3c\x90MSDOS5.0" + struct.pack("<HBHBHHBHHHI", 512, 1, 1, 2, 224, 2880, 0xF0, 9, 18, 2, 0)
    return boot_sector(parameters.ljust(62, b"\0") + HALT).ljust(1440 * 1024, b"\0")


def cd() -> bytes:
    """ISO 9660 with El Torito's boot record, catalog and one image without emulation."""
    blocks = [bytes(BLOCK)] * 16
    blocks.append(b"\1CD001\1".ljust(BLOCK, b"\0"))
    record = b"\0CD001\1EL TORITO SPECIFICATION".ljust(0x47, b"\0") + (19).to_bytes(4, "little")
    blocks.append(record.ljust(BLOCK, b"\0"))
    blocks.append(b"\xffCD001\1".ljust(BLOCK, b"\0"))
    validation = bytearray(b"\1".ljust(30, b"\0") + b"\x55\xaa")
    words = sum(struct.unpack("<16H", validation))
    validation[28:30] = (-words & 0xFFFF).to_bytes(2, "little")
    entry = struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 4, 20).ljust(32, b"\0")
    blocks.append((bytes(validation) + entry).ljust(BLOCK, b"\0"))
    blocks.append(HALT.ljust(BLOCK, b"\0"))
    return b"".join(blocks)


def bios() -> bytes:
    """64 KiB that halt at the reset vector."""
    return bytes(0xFFF0) + HALT + bytes(14)


def option_rom() -> bytes:
    rom = bytearray(b"\x55\xaa\x02\xcb".ljust(1024, b"\0"))
    rom[-1] = -sum(rom) & 0xFF
    return bytes(rom)


def cpio() -> bytes:
    fields = ["00000001", "000041ED", *["00000000"] * 9, "0000000B", "00000000"]
    return ("070701" + "".join(fields) + "TRAILER!!!\0").encode().ljust(512, b"\0")


def built_in(name: str) -> bytes:
    return guest_images.image(name).path.read_bytes()


KERNEL = ("FILE",)
KINDS = (
    Kind("bzImage", bzimage, KERNEL, (range(0x1F0, 0x270),)),
    Kind("multiboot ELF", multiboot_elf, KERNEL, (range(120),)),
    Kind("multiboot", multiboot_raw, KERNEL, (range(32),)),
    Kind("multiboot 2", multiboot2, KERNEL, (range(52 + 32 + 40),)),
    Kind("PVH", pvh, KERNEL, (range(200),)),
    Kind("kernel", lambda: built_in("hello"), KERNEL, (range(0x60), range(0x1000, 0x1040))),
    Kind("gzip", lambda: gzip.compress(built_in("hello"), mtime=0), KERNEL, (range(20),)),
    Kind("boot sector", boot_sector, ("--boot-sector", "FILE"), (range(512),)),
    Kind("initrd", cpio, ("hello", "-initrd", "FILE ARGS,FILE"), (range(120),)),
    Kind("disk as guest", disk, (*BUILTIN, "FILE"), (range(0x1B8, 0x200),)),
    Kind("disk", disk, (*BUILTIN, "-hda", "FILE"), (range(0x1B8, 0x200),)),
    Kind("virtio disk", disk, ("hello", "-drive", "file=FILE,if=virtio"), (range(0x1B8, 0x200),)),
    Kind("diskette", diskette, (*BUILTIN, "-fda", "FILE"), (range(64), range(510, 512))),
    Kind("CD", cd, (*BUILTIN, "-cdrom", "FILE"), (
        range(0x8000, 0x8008), range(0x8800, 0x8850), range(0x9800, 0x9840))),
    Kind("CD as guest", cd, (*BUILTIN, "FILE"), (range(0x8000, 0x8008), range(0x8800, 0x8850), range(0x9800, 0x9840))),
    Kind("BIOS", bios, ("-bios", "FILE"), (range(0xFFF0, 0x10000),)),
    Kind("option ROM", option_rom, ("hello", "-L", "DIRECTORY"), (range(4),)),
)  # fmt: skip
