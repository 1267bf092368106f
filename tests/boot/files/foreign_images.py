"""Damaged and foreign images, a line each: a name, how to make it, what must be said of it, and what must not.

Whatever is among them, `bt run` says one line and ends with status 2. They are made for a guest with 8 MiB.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import NamedTuple

from tests.boot.images import Segment, bzimage, elf, multiboot_elf, multiboot_header

MEMORY_MIB = 8
LOAD = 0x10_0000
CODE = b"\x90" * 64

# advices that would be of no use
NO_MEMORY = (" -m",)
NO_FLAT = ("--flat",)
NO_LINK = ("link",)
NO_OBJCOPY = ("objcopy",)


class Foreign(NamedTuple):
    """An image; its message has all of `said`, separated by "|", and nothing of `never`."""

    name: str
    make: Callable[[], bytes]
    said: str
    never: tuple[str, ...] = NO_MEMORY + NO_FLAT


def foreign_elf(machine: int, *, bits: int = 64, order: str = "<", kind: int = 2) -> bytes:
    """The header of an executable for another processor, and one program header."""
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    if bits == 64:
        header = struct.pack(f"{order}16sHHIQQQIHHHHHH", ident, kind, machine, 1, LOAD, 64, 0, 0, 64, 56, 1, 64, 0, 0)
        table = struct.pack(f"{order}IIQQQQQQ", 1, 7, 0x1000, LOAD, LOAD, 64, 64, 4096)
    else:
        header = struct.pack(f"{order}16sHHIIIIIHHHHHH", ident, kind, machine, 1, LOAD, 52, 0, 0, 52, 32, 1, 40, 0, 0)
        table = struct.pack(f"{order}IIIIIIII", 1, 0x1000, LOAD, LOAD, 64, 64, 7, 4096)
    return (header + table).ljust(0x1000, b"\0") + CODE


def multiboot_2_header(architecture: int = 0, *, checksum_error: int = 0) -> bytes:
    tags = struct.pack("<HHI", 0, 0, 8)
    length = 16 + len(tags)
    checksum = (-(0xE85250D6 + architecture + length) + checksum_error) & 0xFFFF_FFFF
    return struct.pack("<IIII", 0xE85250D6, architecture, length, checksum) + tags


def note(name: bytes, kind: int, description: bytes = b"\0\0\x10\0") -> bytes:
    padded = name + bytes(-len(name) % 4)
    return struct.pack("<III", len(name), len(description), kind) + padded + description


def noted_elf(*notes: bytes) -> bytes:
    """A plain executable, with notes in a segment of their own."""
    return elf([Segment(LOAD, CODE), Segment(0, b"".join(notes), memsz=0, kind=4)], LOAD)


def at(*marks: tuple[int, bytes], size: int = 600_000, fill: int = 0) -> bytes:
    """Bytes at their offsets in an image that is too large for a boot sector; a negative offset is from its end."""
    image = bytearray([fill]) * size
    for offset, mark in marks:
        start = offset % size
        image[start : start + len(mark)] = mark
    return bytes(image)


SIGNATURE = (510, b"\x55\xaa")
PARTITION = (0x1BE, struct.pack("<BBBBBBBBII", 0x80, 1, 1, 0, 0x83, 15, 63, 9, 2048, 1000))


def boot_disk(*marks: tuple[int, bytes], size: int = 1440 * 1024) -> bytes:
    return at((0, b"\xeb\x3c\x90"), SIGNATURE, *marks, size=size)


def pe(machine: int, subsystem: int, signature: bytes = b"PE\0\0") -> bytes:
    header = signature + struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, 0xF0, 0x22) + bytes(68)
    return b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80) + bytes(0x40) + header + struct.pack("<H", subsystem)


def newc() -> bytes:
    return b"070701" + b"0" * 104 + b"TRAILER!!!\0\0\0\0"


def tar() -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("boot/vmlinuz"))
        return file.getvalue()


def zip_() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("vmlinuz", b"x")
        return file.getvalue()


def damaged_gzip(change: Callable[[bytearray], None]) -> bytes:
    packed = bytearray(gzip.compress(multiboot_elf(bytes(range(256)) * 64), mtime=0))
    change(packed)
    return bytes(packed)


def flip(offset: int) -> Callable[[bytearray], None]:
    def change(packed: bytearray) -> None:
        packed[offset] ^= 0xFF

    return change


def shorten(count: int) -> Callable[[bytearray], None]:
    def change(packed: bytearray) -> None:
        del packed[-count:]

    return change


def raw_multiboot(header: int = LOAD, load: int = LOAD, load_end: int = 0, bss_end: int = 0, entry: int = 0) -> bytes:
    return multiboot_header(0x1_0000, (header, load, load_end, bss_end, entry or load + 32)) + bytes(64)


def _elves() -> list[Foreign]:
    judged = ("|bt's processor is a 32-bit x86", NO_MEMORY + NO_FLAT + NO_OBJCOPY + NO_LINK + ("64-bit ELF",))
    others = [
        ("AArch64", 183, 64, "<"), ("RISC-V", 243, 64, "<"), ("RISC-V", 243, 32, "<"), ("ARM", 40, 32, "<"),
        ("ARM", 40, 32, ">"), ("64-bit PowerPC", 21, 64, "<"), ("64-bit PowerPC", 21, 64, ">"),
        ("PowerPC", 20, 32, ">"), ("S/390", 22, 64, ">"), ("SPARC V9", 43, 64, ">"), ("SPARC", 2, 32, ">"),
        ("MIPS", 8, 32, ">"), ("MIPS", 8, 32, "<"), ("m68k", 4, 32, ">"), ("Itanium", 50, 64, "<"),
        ("LoongArch", 258, 64, "<"), ("Alpha", 0x9026, 64, "<"), ("SuperH", 42, 32, "<"), ("AVR", 83, 32, "<"),
        ("processor number 9999", 9999, 32, "<"), ("processor number 0", 0, 64, "<"),
    ]  # fmt: skip
    foreign = [
        Foreign(
            f"elf{bits} {'little' if order == '<' else 'big'}-endian {name}",
            functools.partial(foreign_elf, machine, bits=bits, order=order),
            f"an ELF for {name}{judged[0]}",
            judged[1],
        )
        for name, machine, bits, order in others
    ]
    i386 = functools.partial(elf, [Segment(LOAD, CODE)], LOAD)
    return [
        *foreign,
        Foreign("elf64 x86-64",
            lambda: foreign_elf(62), "an ELF for 64-bit x86|--cpu qemu64, or take one for i386", judged[1]),
        Foreign("elf32 x32", lambda: foreign_elf(62, bits=32), "an ELF for 64-bit x86|or take one for i386", judged[1]),
        Foreign("elf64 x86-64 with multiboot 1",
            lambda: foreign_elf(62)[:0x100] + multiboot_header(3) + bytes(64), "an ELF for 64-bit x86", judged[1]),
        Foreign("elf64 of an object for x86-64", lambda: foreign_elf(62, kind=1), "64-bit x86", judged[1]),
        Foreign("elf64 i386", lambda: i386(elf_class=2), "damaged ELF header (class 2", NO_OBJCOPY),
        Foreign("big-endian i386", lambda: foreign_elf(3, bits=32, order=">"), "damaged ELF header (class 1, data enc"),
        Foreign("big-endian x86-64", lambda: foreign_elf(62, order=">"), "damaged ELF header (class 2, data encodi"),
        Foreign("elf of i386 marked big-endian", lambda: i386(encoding=2), "damaged ELF header (class 1, data enc"),
        Foreign("elf class 0", lambda: i386(elf_class=0), "damaged ELF header (class 0"),
        Foreign("elf encoding 7", lambda: i386(encoding=7), "damaged ELF header (class 1, data encoding 7"),
        Foreign("elf header alone, cut", lambda: i386()[:40], "ELF header is cut off: the file has 40 of 52 bytes"),
        Foreign("elf magic alone", lambda: b"\x7fELF", "ELF header is cut off"),
        Foreign("elf program headers cut", lambda: i386()[:70], "lie beyond the end of the file"),
        Foreign("elf segment cut", lambda: i386()[:-30], "is it cut off?"),
        Foreign("elf type none", lambda: i386(kind=0), "an ELF without a type", NO_LINK),
        Foreign("elf relocatable", lambda: i386(kind=1), "a relocatable object; link it statically"),
        Foreign("elf shared", lambda: i386(kind=3), "position-independent executable; link it statically"),
        Foreign("elf core", lambda: i386(kind=4), "a core dump, not a guest", NO_LINK),
        Foreign("elf of a system's own type", lambda: i386(kind=0xFE00), "ELF type 0xfe00, not an executable", NO_LINK),
        Foreign("elf without program headers", lambda: elf([], LOAD), "0 ELF program headers"),
        Foreign("elf without segments", lambda: elf([Segment(LOAD, CODE, kind=2)], LOAD), "without loadable segments"),
        Foreign("elf more in file than in memory", lambda: elf([Segment(LOAD, CODE, memsz=9)], LOAD), "0x9 in memory"),
        Foreign("elf entry outside", lambda: elf([Segment(LOAD, CODE)], 4), "entry 0x4 lies in none of its segments"),
        Foreign("elf overlap", lambda: elf([Segment(LOAD, CODE), Segment(LOAD + 9, CODE)], LOAD), "overlaps segment 0"),
        Foreign("elf dynamic", lambda: elf([Segment(0, b"/lib/ld-linux.so.2\0", kind=3)], LOAD), "link with -static"),
        Foreign("FreeBSD kernel", lambda: elf([Segment(0, b"/red/herring\0", kind=3)], LOAD), "a FreeBSD kernel",
            ("-static",)),
        Foreign("elf in the video hole", lambda: elf([Segment(0xA_0000, CODE)], 0xA_0000), "no RAM there"),
        Foreign("elf at the top, a ROM", lambda: elf([Segment(0xFFF0_0000, CODE)], 0xFFF0_0000),
            "segment 0 at 0xfff00000..0xfff0003f can never be in RAM, which ends at 0xdfffffff at most"),
        Foreign("elf with a huge bss", lambda: elf([Segment(LOAD, CODE, memsz=0xFFFF_FFFF)], LOAD), "can never be in"),
        Foreign("elf just above all RAM", lambda: elf([Segment(0xDFFF_FFC1, CODE)], 0xDFFF_FFC1), "can never be in"),
        Foreign("elf with a ROM, and another that wants RAM",
            lambda: elf([Segment(0x900_0000, CODE), Segment(0xFFF0_0000, CODE)], 0x900_0000), "can never be in RAM"),
        Foreign("elf that overlaps itself, and wants RAM",
            lambda: elf([Segment(0x900_0000, CODE), Segment(0x900_0000, CODE)], 0x900_0000), "overlaps"),
        Foreign("elf just above this RAM", lambda: elf([Segment(0x7F_FFC1, CODE)], 0x7F_FFC1),
            "lies outside RAM (8 MiB); give -m 9M or more", NO_FLAT),
        Foreign("elf at the end of all RAM", lambda: elf([Segment(0xDFFF_FFC0, CODE)], 0xDFFF_FFC0),
            "give -m 3584M or more", NO_FLAT),
        Foreign("PVH kernel, entered nowhere", lambda: noted_elf(note(b"Xen\0", 6), note(b"Xen\0", 18, bytes(4))),
            "the entry 0x0 of its PVH note lies in none of its segments"),
        Foreign("PVH after an odd note", lambda: noted_elf(note(b"oddly\0", 1, b""), note(b"Xen\0", 18, bytes(5))),
            "its PVH note has 5 bytes"),
        Foreign("Linux program", lambda: noted_elf(note(b"GNU\0", 1, bytes(16))), "a program for an operating system"),
    ]  # fmt: skip


def _multiboot() -> list[Foreign]:
    return [
        Foreign("multiboot 2 elf for MIPS", lambda: elf([Segment(LOAD, multiboot_2_header(4) + CODE)], LOAD + 24),
            "multiboot 2 header at 0x60 is for MIPS"),
        Foreign("multiboot 2 raw", lambda: bytes(0x7FD0) + multiboot_2_header() + CODE, "without address tag, and not"),
        Foreign("multiboot 2 elf64", lambda: foreign_elf(62) + multiboot_2_header() + CODE,
            "an ELF for 64-bit x86"),
        Foreign("multiboot 2 elf64 for AArch64", lambda: foreign_elf(183) + multiboot_2_header(),
            "a multiboot 2 kernel for AArch64"),
        Foreign("multiboot 2 elf, damaged",
            lambda: elf([Segment(LOAD, multiboot_2_header(checksum_error=1) + CODE)], LOAD + 24),
            "magic + architecture + length + checksum is 0x1, not 0"),
        Foreign("multiboot checksum", lambda: multiboot_header(checksum_error=1) + CODE, "magic + flags + checksum is"),
        Foreign("multiboot demand", lambda: multiboot_header(8) + CODE, "demands unknown features (flags 0x8)"),
        Foreign("multiboot without addresses", lambda: multiboot_header(0) + CODE, "without address fields, and not"),
        Foreign("multiboot cut", lambda: multiboot_header(0x1_0000) + bytes(8), "cut off before its address fields"),
        Foreign("multiboot header above load", lambda: raw_multiboot(header=LOAD + 4), "do not agree"),
        Foreign("multiboot header below load", lambda: raw_multiboot(header=LOAD - 4), "do not agree"),
        Foreign("multiboot load end", lambda: raw_multiboot(load_end=LOAD + 97), "needs 0x61 bytes of file"),
        Foreign("multiboot descending", lambda: raw_multiboot(load_end=LOAD - 1), "do not ascend"),
        Foreign("multiboot bss descending", lambda: raw_multiboot(bss_end=LOAD + 1), "do not ascend"),
        Foreign("multiboot entry outside", lambda: raw_multiboot(entry=LOAD - 1), "lies outside the image"),
        Foreign("multiboot in the hole", lambda: raw_multiboot(0xC_0000, 0xC_0000), "no RAM there"),
        Foreign("multiboot with a huge bss", lambda: raw_multiboot(bss_end=0xFFFF_FFFF), "can never be in RAM"),
        Foreign("multiboot at the top", lambda: raw_multiboot(0xFFFF_0000, 0xFFFF_0000), "can never be in RAM"),
        Foreign("multiboot above this RAM", lambda: raw_multiboot(0x80_0000, 0x80_0000),
            "lies outside RAM (8 MiB); give -m 9M or more", NO_FLAT),
    ]  # fmt: skip


def _linux() -> list[Foreign]:
    return [
        Foreign("bzImage cut in its header", lambda: bzimage()[:600], "cut off in its setup header"),
        Foreign("bzImage cut before its code", lambda: bzimage()[:1536], "ends before its protected-mode code"),
        Foreign("bzImage cut", lambda: bzimage()[:-16], "is it cut off?"),
        Foreign("bzImage without its flag", lambda: bzimage().replace(b"\x55\xaa", b"\x55\xab", 1), "boot flag 0xab55"),
        Foreign("bzImage 2.01", lambda: bzimage(version=0x0201), "boot protocol 2.01"),
        Foreign("bzImage 3.00", lambda: bzimage(version=0x0300), "boot protocol 3.00"),
        Foreign("bzImage with a short header", lambda: bzimage(header_end=0x250), "setup header ends at 0x250"),
        Foreign("bzImage with a long header", lambda: bzimage(header_end=0x291), "setup header ends at 0x291"),
        Foreign("zImage", lambda: bzimage(loadflags=0), "a zImage"),
        Foreign("bzImage for x86-64",
            lambda: bzimage(xloadflags=1), "a 64-bit Linux kernel|--cpu qemu64, or take one for i386"),
        Foreign("bzImage that starts low", lambda: bzimage(code32_start=0x1000), "below 1 MiB"),
        Foreign("bzImage alignment 0", lambda: bzimage(alignment=0), "kernel_alignment 0x0"),
        Foreign("bzImage alignment 3", lambda: bzimage(alignment=3), "not a power of two"),
        Foreign("bzImage at the top", lambda: bzimage(code32_start=0xFFFF_FF00), "a guest has 3584 at most"),
        Foreign("bzImage beyond 4 GiB", lambda: bzimage(pref_address=1 << 63), "a guest has 3584 at most"),
        Foreign("bzImage larger than all RAM", lambda: bzimage(init_size=0xFFFF_FFFF), "a guest has 3584 at most"),
        Foreign("bzImage larger than this RAM", lambda: bzimage(init_size=8 << 20), "give -m 9M or more", NO_FLAT),
    ]  # fmt: skip


def _disks() -> list[Foreign]:
    def row(what: str, make: Callable[[], bytes], said: str) -> Foreign:
        return Foreign(what, make, f"{said}|; give it with -")

    def container(what: str, make: Callable[[], bytes], said: str) -> Foreign:
        return Foreign(what, make, f"{said}|; bt has raw disk images, `qemu-img convert -O raw` makes one")

    return [
        row("ISO 9660", lambda: at((0x8001, b"CD001\1")), "an ISO 9660 image"),
        row("ISO 9660, hybrid", lambda: boot_disk((0x8001, b"CD001\1"), PARTITION), "an ISO 9660 image"),
        row("ISO 9660, hybrid, small", lambda: boot_disk((0x8001, b"CD001"), size=400_000), "an ISO 9660 image"),
        row("UDF", lambda: at((0x8001, b"BEA01\1")), "a UDF image"),
        container("raw CD", lambda: at((0, b"\0" + b"\xff" * 10 + b"\0\0\2\0\1")), "a raw CD image"),
        row("floppy", boot_disk, "a floppy disk image"),
        row("floppy with FAT12", lambda: boot_disk((0x36, b"FAT12   ")), "a disk image with a FAT file system"),
        row("FAT32 disk", lambda: boot_disk((0x52, b"FAT32   "), size=3 << 20), "a disk image with a FAT file system"),
        row("disk of an odd size", lambda: boot_disk(size=700_000), "a disk image"),
        row("MBR disk", lambda: boot_disk(PARTITION, size=1 << 20), "a disk image with an MBR partition table"),
        row("MBR disk with a loader that has multiboot",
            lambda: boot_disk(PARTITION, (0x600, multiboot_header(0x1_0000, (0x10_0400, LOAD, 0, 0, LOAD + 0x440)))),
            "a disk image with an MBR partition table"),
        row("GPT disk", lambda: boot_disk(PARTITION, (512, b"EFI PART\0\0\1\0")), "a disk image with a GPT"),
        row("GPT disk, small", lambda: boot_disk((512, b"EFI PART"), size=100_000), "a disk image with a GPT"),
        row("GPT disk with large sectors", lambda: at((4096, b"EFI PART")), "a disk image with a GPT"),
        row("Apple partitions", lambda: at((0, b"ER\2\0"), (512, b"PM\0\0")), "a disk image with an Apple partition"),
        container("qcow2", lambda: at((0, b"QFI\xfb\0\0\0\3")), "a qcow2 disk image"),
        container("VMDK", lambda: at((0, b"KDMV\1\0\0\0")), "a VMDK disk image"),
        container("VMDK description", lambda: b"# Disk DescriptorFile\nversion=1\n",
            "the description of a VMDK disk image"),
        container("VDI", lambda: at((0, b"<<< Oracle VM VirtualBox Disk Image >>>\n"), (0x40, b"\x7f\x10\xda\xbe")),
            "a VDI"),
        container("VHD, fixed", lambda: boot_disk((-512, b"conectix")), "a VHD disk image"),
        container("VHD, dynamic", lambda: at((0, b"conectix")), "a VHD disk image"),
        container("VHDX", lambda: at((0, b"vhdxfile")), "a VHDX disk image"),
        container("QED", lambda: at((0, b"QED\0")), "a QED disk image"),
        container("DMG", lambda: at((-512, b"koly\0\0\0\4")), "a DMG disk image"),
        container("Bochs disk", lambda: at((0, b"Bochs Virtual HD Image\0")), "a Bochs disk image"),
        row("ext4", lambda: at((0x438, b"\x53\xef\1\0\1\0")), "an ext2, ext3 or ext4 file system"),
        row("ext2 with a boot sector", lambda: boot_disk((0x438, b"\x53\xef\1\0\1\0"), size=300_000), "an ext2"),
        row("btrfs", lambda: at((0x10040, b"_BHRfS_M")), "a btrfs file system"),
        row("XFS", lambda: at((0, b"XFSB")), "an XFS file system"),
        row("NTFS", lambda: boot_disk((3, b"NTFS    ")), "an NTFS file system"),
        row("squashfs", lambda: at((0, b"hsqs")), "a squashfs file system"),
        row("cramfs", lambda: at((0, b"\x45\x3d\xcd\x28")), "a cramfs file system"),
        row("romfs", lambda: at((0, b"-rom1fs-")), "a romfs file system"),
        Foreign("swap", lambda: at((0xFF6, b"SWAPSPACE2")), "Linux swap space, not a guest"),
        Foreign("LUKS", lambda: at((0, b"LUKS\xba\xbe\0\2")), "a LUKS volume, encrypted, not a guest"),
    ]  # fmt: skip


def _packed() -> list[Foreign]:
    kernel = multiboot_elf()
    return [
        Foreign("xz", lambda: lzma.compress(kernel), "compressed with xz; unpack it first (unxz)"),
        Foreign("lzma", lambda: lzma.compress(kernel, lzma.FORMAT_ALONE), "compressed with LZMA; unpack it first"),
        Foreign("bzip2", lambda: bz2.compress(kernel), "compressed with bzip2; unpack it first (bunzip2)"),
        Foreign("bzip2 of nothing", lambda: bz2.compress(b""), "compressed with bzip2, not a guest"),
        Foreign("zstd", lambda: at((0, b"\x28\xb5\x2f\xfd\4")), "compressed with zstd; unpack it first (unzstd)"),
        Foreign("lz4", lambda: at((0, b"\x04\x22\x4d\x18")), "compressed with LZ4; unpack it first (unlz4)"),
        Foreign("lzop", lambda: at((0, b"\x89LZO\0\r\n\x1a\n")), "compressed with LZO; unpack it first (lzop -d)"),
        Foreign("compress", lambda: at((0, b"\x1f\x9d\x90")), "compressed with compress; unpack it first"),
        Foreign("cpio", newc, "a cpio archive, as initial RAM disks are; give it with -initrd"),
        Foreign("tar", tar, "a tar archive; unpack it"),
        Foreign("zip", zip_, "a zip archive; unpack it"),
        Foreign("7z", lambda: at((0, b"7z\xbc\xaf\x27\x1c")), "a 7z archive; unpack it"),
        Foreign("deb", lambda: b"!<arch>\ndebian-binary   1410122664", "a Debian package; take the kernel out"),
        Foreign("library", lambda: b"!<arch>\n/               0", "an ar archive (library)"),
        Foreign("rpm", lambda: at((0, b"\xed\xab\xee\xdb\3")), "an RPM package; take the kernel out of it (rpm2cpio)"),
        Foreign("gzip'ed cpio", lambda: gzip.compress(newc()), "a cpio archive, as initial RAM disks are; give it"),
        Foreign("gzip'ed tar", lambda: gzip.compress(tar()), "a tar archive; unpack it"),
        Foreign("gzip'ed ISO", lambda: gzip.compress(at((0x8001, b"CD001"))), "an ISO 9660 image"),
        Foreign("gzip'ed AArch64", lambda: gzip.compress(foreign_elf(183)), "an ELF for AArch64"),
        Foreign("gzip'ed nothing", lambda: gzip.compress(b""), "the file is empty"),
        Foreign("gzip'ed twice", lambda: gzip.compress(gzip.compress(kernel)), "compressed with gzip twice; unpack"),
        Foreign("gzip, ten bytes", lambda: gzip.compress(kernel)[:10], "its gzip data end after 0 bytes unpacked"),
        Foreign("gzip, two bytes", lambda: b"\x1f\x8b", "its gzip data end after 0 bytes unpacked: is it cut off?"),
        Foreign("gzip, without trailer", lambda: damaged_gzip(shorten(8)), "bytes unpacked: is it cut off?"),
        Foreign("gzip, a byte short", lambda: damaged_gzip(shorten(1)), "bytes unpacked: is it cut off?"),
        Foreign("gzip, method", lambda: damaged_gzip(flip(2)), "damaged gzip data (unknown compression method)"),
        Foreign("gzip, flags", lambda: damaged_gzip(flip(3)), "damaged gzip data (unknown header flags set)"),
        Foreign("gzip, data", lambda: damaged_gzip(flip(12)), "damaged gzip data ("),
        Foreign("gzip, check sum", lambda: damaged_gzip(flip(-8)), "damaged gzip data (incorrect data check)"),
        Foreign("gzip, length", lambda: damaged_gzip(flip(-1)), "damaged gzip data (incorrect length check)"),
        Foreign("gzip, garbage behind", lambda: gzip.compress(kernel) + b"abc", "3 bytes behind its gzip data are no"),
        Foreign("gzip, zeroes and garbage behind", lambda: gzip.compress(kernel) + bytes(9) + b"a", "10 bytes behind"),
        Foreign("gzip, a member cut", lambda: gzip.compress(kernel) + gzip.compress(b"x")[:-1], "is it cut off?"),
        Foreign("gzip of more than this RAM", lambda: gzip.compress(b"\x90" * ((9 << 20) + 1)),
            "unpacks to more than 8 MiB, all of the guest's memory; give -m 10M or more", NO_FLAT),
        Foreign("gzip bomb that hides its size", lambda: gzip.compress(b"\x90" * (9 << 20))[:-4] + b"\1\0\0\0",
            "unpacks to more than 8 MiB, all of the guest's memory, not a guest"),
        Foreign("gzip bomb of many members", lambda: gzip.compress(b"\x90" * (1 << 20)) * 100,
            "unpacks to more than 8 MiB, all of the guest's memory, not a guest"),
        Foreign("gzip'ed initrd larger than this RAM", lambda: gzip.compress(newc() + bytes(9 << 20)),
            "a cpio archive, as initial RAM disks are; give it with -initrd"),
    ]  # fmt: skip


def _others() -> list[Foreign]:
    ihex = b":020000040010EA\n:10000000B8000000\n:00000001FF\n"
    return [
        Foreign("EFI application", lambda: pe(0x8664, 10), "an EFI application for x86-64; bt has no EFI"),
        Foreign("EFI application for i386", lambda: pe(0x14C, 10), "an EFI application for i386; bt has no EFI"),
        Foreign("EFI driver", lambda: pe(0xAA64, 12), "an EFI driver for AArch64; bt has no EFI"),
        Foreign("Windows program", lambda: pe(0x14C, 3), "a Windows program for i386; bt runs kernels"),
        Foreign("Windows program for whom", lambda: pe(0x9999, 2), "a Windows program; bt runs kernels"),
        Foreign("16-bit Windows program", lambda: pe(0, 0, b"NE"), "a 16-bit Windows or OS/2 program"),
        Foreign("DOS program", lambda: b"MZ" + bytes(100), "a DOS program; bt has no DOS"),
        Foreign("MZ alone", lambda: b"MZ", "a DOS program; bt has no DOS"),
        Foreign("MZ that points nowhere", lambda: b"MZ" + b"\xff" * 100, "a DOS program; bt has no DOS"),
        Foreign("Linux for AArch64", lambda: at((0, b"MZ"), (0x38, b"ARM\x64")), "a Linux kernel for AArch64; bt's"),
        Foreign("Linux for RISC-V", lambda: at((0, b"MZ"), (0x30, b"RISCV\0\0\0")), "a Linux kernel for RISC-V"),
        Foreign("zImage for ARM", lambda: at((0x24, b"\x18\x28\x6f\x01")), "a Linux kernel for ARM (zImage)"),
        Foreign("zboot", lambda: at((0, b"MZ\0\0zimg")), "a Linux kernel for another processor (EFI zboot)"),
        Foreign("uImage", lambda: at((0, b"\x27\x05\x19\x56"), (29, b"\2")), "a U-Boot image (uImage) for another"),
        Foreign("uImage for x86", lambda: at((0, b"\x27\x05\x19\x56"), (29, b"\3")), "for x86; remove its 64-byte"),
        Foreign("device tree", lambda: at((0, b"\xd0\x0d\xfe\xed")), "a device tree, or a U-Boot FIT image, not a g"),
        Foreign("Android boot image", lambda: at((0, b"ANDROID!")), "an Android boot image; take the kernel out"),
        Foreign("Android sparse image", lambda: at((0, b"\x3a\xff\x26\xed")), "an Android sparse image; bt has raw d"),
        Foreign("a.out", lambda: at((0, b"\x0b\x01\x64\0")), "an a.out executable; bt runs kernels"),
        Foreign("a.out object", lambda: at((0, b"\x07\x01\0\0")), "an a.out executable or object"),
        Foreign("COFF object", lambda: b"\x4c\1\3\0" + b"\1" * 12 + b"\0\0\4\1" + CODE, "a COFF object for i386; link"),
        Foreign("Mach-O", lambda: at((0, b"\xce\xfa\xed\xfe\7\0\0\0")), "a Mach-O executable; bt runs kernels"),
        Foreign("Mach-O 64", lambda: at((0, b"\xcf\xfa\xed\xfe\7\0\0\1")), "a 64-bit Mach-O executable; bt's process"),
        Foreign("Mach-O universal", lambda: at((0, b"\xca\xfe\xba\xbe\0\0\0\2")), "a universal Mach-O executable"),
        Foreign("Java class", lambda: at((0, b"\xca\xfe\xba\xbe\0\0\0\x34")), "a Java class; bt runs kernels"),
        Foreign("WebAssembly", lambda: b"\0asm\1\0\0\0", "a WebAssembly module"),
        Foreign("bitcode", lambda: b"BC\xc0\xde5\x14\0\0", "LLVM bitcode; compile and link it"),
        Foreign("option ROM", lambda: at((0, b"\x55\xaa\x40\xeb\x10")), "a PC's option ROM; bt needs no firmware"),
        Foreign("BIOS", lambda: at((-16, b"\xea\x5b\xe0\0\xf0"), size=1 << 17), "a PC's BIOS; bt needs no firmware"),
        Foreign("EFI firmware", lambda: at((0x28, b"_FVH")), "EFI firmware; bt needs no firmware"),
        Foreign("script", lambda: b"#!/bin/sh\necho hello\n", "a script; bt runs kernels"),
        Foreign("text", lambda: "Grüße\n".encode() * 100, "a text file, not a guest"),
        Foreign("much text, cut in a letter", lambda: b"x" + "ü".encode() * 50_000, "a text file, not a guest"),
        Foreign("web page", lambda: b"<!DOCTYPE html>\n<title>404</title>", "a web page; fetch the file itself"),
        Foreign("Git LFS", lambda: b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; fetch the"),
        Foreign("Intel HEX", lambda: ihex, "an Intel HEX file; convert it", NO_MEMORY),
        Foreign("empty", lambda: b"", "the file is empty"),
        Foreign("zeroes", lambda: bytes(1 << 20), "begins with 69632 zeroes, not a guest"),
        Foreign("cut boot sector", lambda: (b"\xfa" + b"\x90" * 509 + b"\x55\xaa")[:511], "for a raw image give --flat",
            NO_MEMORY),
        Foreign("code", lambda: b"\xeb\xfe\x90\0" * 9999, "for a raw image give --flat ADDRESS", NO_MEMORY),
        Foreign("noise", lambda: bytes(n * n % 251 for n in range(5000)), "for a raw image give --flat", NO_MEMORY),
    ]  # fmt: skip


FOREIGN = (*_elves(), *_multiboot(), *_linux(), *_disks(), *_packed(), *_others())
