"""Files that are no guests, known by their magic numbers: what each is, and what helps.

Only read when an image is refused. `foreign.py` looks things up here; a new format is a new line. An advice may be
empty, but must not be of no use.
"""

from __future__ import annotations

from typing import NamedTuple

_CD = "give it with -cdrom"
_DISK = "give it with -hda, beside a kernel or to boot from it"
_DISKETTE = "give it with -fda"
_CONTAINER = "bt has raw disk images, `qemu-img convert -O raw` makes one"
_OTHER_PROCESSOR = "bt's processor is a 32-bit x86"
_UNPACK = "unpack it, and run the kernel in it"
_RAM_DISK = "give it with -initrd, and its kernel as IMAGE"
_NO_DOS = "bt has no DOS"
_NO_EFI = "bt has no EFI: take the system's bzImage or multiboot kernel"
_NO_SYSTEM = "bt runs kernels, and this needs a system below it"
_NO_FIRMWARE = "bt needs no firmware: run the kernel itself"
_INCOMPLETE = "fetch the file itself"


class Format(NamedTuple):
    """`marks` are bytes at their offsets, all of which must be there; a negative offset counts from the file's end."""

    what: str
    advice: str
    marks: tuple[tuple[int, bytes], ...]


def _format(what: str, advice: str, *marks: tuple[int, bytes]) -> Format:
    return Format(what, advice, marks)


ISO_9660 = (0x8001, b"CD001")

# Disks whose marks are beyond the first sector, which may well be a boot sector: these go before it.
DISKS = (
    _format("an ISO 9660 image (CD or DVD)", _CD, ISO_9660),
    _format("a UDF image (DVD)", _CD, (0x8001, b"BEA01")),
    _format("a raw CD image (2352-byte sectors)", _CONTAINER, (0, b"\0" + b"\xff" * 10 + b"\0")),
    _format("a VHD disk image", _CONTAINER, (-512, b"conectix")),
    _format("a VHD disk image", _CONTAINER, (0, b"conectix")),
    _format("a DMG disk image", _CONTAINER, (-512, b"koly\0\0\0\4")),
    _format("a disk image with a GPT", _DISK, (0x200, b"EFI PART")),
    _format("a disk image with a GPT (4096-byte sectors)", _DISK, (0x1000, b"EFI PART")),
    _format("a disk image with an Apple partition map", _DISK, (0, b"ER"), (0x200, b"PM\0\0")),
    _format("a disk image with a BSD disk label", _DISK, (0x200, b"WEV\x82"), (0x284, b"WEV\x82")),
    _format("an LVM physical volume", _DISK, (0x200, b"LABELONE")),
    # the magic number has two bytes; with it the upper halves of state, errors and revision, which are zero
    _format("an ext2, ext3 or ext4 file system", _DISK, (0x438, b"\x53\xef"), (0x43B, b"\0"), (0x43D, b"\0"),
        (0x44D, b"\0\0\0")),
    _format("an EROFS file system", _DISK, (0x400, b"\xe2\xe1\xf5\xe0")),
    _format("an F2FS file system", _DISK, (0x400, b"\x10\x20\xf5\xf2")),
    _format("an HFS+ file system", _DISK, (0x400, b"H+\0\4")),
    _format("a btrfs file system", _DISK, (0x10040, b"_BHRfS_M")),
    _format("a ReiserFS file system", _DISK, (0x10034, b"ReIsEr")),
    _format("a JFS file system", _DISK, (0x8000, b"JFS1")),
    _format("Linux swap space", "", (0xFF6, b"SWAPSPACE2")),
)  # fmt: skip

# Marks at the end, of images that begin with the disk's first sector.
FOOTERS = tuple(mark for each in DISKS for mark in each.marks if mark[0] < 0)

# All others, the special before the general.
FILES = (
    # kernels for others
    _format("a Linux kernel for AArch64", _OTHER_PROCESSOR, (0x38, b"ARM\x64")),
    _format("a Linux kernel for ARM (zImage)", _OTHER_PROCESSOR, (0x24, b"\x18\x28\x6f\x01")),
    _format("a Linux kernel for RISC-V", _OTHER_PROCESSOR, (0x30, b"RISCV\0\0\0")),
    _format("a Linux kernel for another processor (EFI zboot)", _OTHER_PROCESSOR, (0, b"MZ\0\0zimg")),
    _format("a U-Boot image (uImage) for x86", "remove its 64-byte header (dd bs=64 skip=1)",
        (0, b"\x27\x05\x19\x56"), (29, b"\3")),
    _format("a U-Boot image (uImage) for another processor", _OTHER_PROCESSOR, (0, b"\x27\x05\x19\x56")),
    _format("a device tree, or a U-Boot FIT image", "", (0, b"\xd0\x0d\xfe\xed")),
    _format("an Android boot image", "take the kernel out of it (unpack_bootimg)", (0, b"ANDROID!")),
    _format("an Android vendor boot image", "", (0, b"VNDRBOOT")),
    _format("an Android sparse image", _CONTAINER, (0, b"\x3a\xff\x26\xed")),
    _format("a ChromeOS kernel partition", "take the bzImage out of it (futility vbutil_kernel)", (0, b"CHROMEOS")),
    # disk images
    _format("a qcow2 disk image", _CONTAINER, (0, b"QFI\xfb")),
    _format("a QED disk image", _CONTAINER, (0, b"QED\0")),
    _format("a VMDK disk image", _CONTAINER, (0, b"KDMV")),
    _format("a VMDK disk image", _CONTAINER, (0, b"COWD")),
    _format("the description of a VMDK disk image", _CONTAINER, (0, b"# Disk DescriptorFile")),
    _format("a VDI disk image", _CONTAINER, (0x40, b"\x7f\x10\xda\xbe")),
    _format("a VHDX disk image", _CONTAINER, (0, b"vhdxfile")),
    _format("a Parallels disk image", _CONTAINER, (0, b"WithoutFreeSpace")),
    _format("a Parallels disk image", _CONTAINER, (0, b"WithouFreSpacExt")),
    _format("a Bochs disk image", _CONTAINER, (0, b"Bochs Virtual HD Image")),
    _format("a LUKS volume, encrypted", "", (0, b"LUKS\xba\xbe")),
    _format("a Windows image (WIM)", "", (0, b"MSWIM\0\0\0")),
    # file systems
    _format("a squashfs file system", _DISK, (0, b"hsqs")),
    _format("a squashfs file system", _DISK, (0, b"sqsh")),
    _format("a cramfs file system", _DISK, (0, b"\x45\x3d\xcd\x28")),
    _format("a romfs file system", _DISK, (0, b"-rom1fs-")),
    _format("an XFS file system", _DISK, (0, b"XFSB")),
    _format("an NTFS file system", _DISK, (3, b"NTFS    ")),
    _format("an exFAT file system", _DISK, (3, b"EXFAT   ")),
    _format("an APFS container", _DISK, (0x20, b"NXSB")),
    _format("a UBI image", _DISK, (0, b"UBI#")),
    # archives and what is compressed
    _format("a cpio archive, as initial RAM disks are", _RAM_DISK, (0, b"070701")),
    _format("a cpio archive, as initial RAM disks are", _RAM_DISK, (0, b"070702")),
    _format("a cpio archive (old form)", _UNPACK, (0, b"070707")),
    _format("a cpio archive (old form)", _UNPACK, (0, b"\xc7\x71")),
    _format("a tar archive", _UNPACK, (0x101, b"ustar")),
    _format("a zip archive", _UNPACK, (0, b"PK\3\4")),
    _format("a 7z archive", _UNPACK, (0, b"7z\xbc\xaf\x27\x1c")),
    _format("a RAR archive", _UNPACK, (0, b"Rar!\x1a\7")),
    _format("a cabinet archive", _UNPACK, (0, b"MSCF\0\0\0\0")),
    _format("a Debian package", "take the kernel out of it (dpkg-deb -x)", (0, b"!<arch>\ndebian-binary")),
    _format("an ar archive (library)", "", (0, b"!<arch>\n")),
    _format("an RPM package", "take the kernel out of it (rpm2cpio)", (0, b"\xed\xab\xee\xdb")),
    _format("compressed with gzip twice", "unpack it first (gunzip)", (0, b"\x1f\x8b")),
    _format("compressed with xz", "unpack it first (unxz)", (0, b"\xfd7zXZ\0")),
    _format("compressed with zstd", "unpack it first (unzstd)", (0, b"\x28\xb5\x2f\xfd")),
    _format("compressed with bzip2", "unpack it first (bunzip2)", (0, b"BZh"), (4, b"\x31\x41\x59\x26\x53\x59")),
    _format("compressed with bzip2", "", (0, b"BZh"), (4, b"\x17\x72\x45\x38\x50\x90")),  # nothing, compressed
    _format("compressed with LZMA", "unpack it first (unlzma)", (0, b"\x5d\0\0"), (5, b"\xff" * 8)),
    _format("compressed with LZMA", "unpack it first (unlzma)", (0, b"\x5d\0\0"), (9, b"\0\0\0\0")),
    _format("compressed with LZ4", "unpack it first (unlz4)", (0, b"\x04\x22\x4d\x18")),
    _format("compressed with LZ4", "unpack it first (unlz4)", (0, b"\x02\x21\x4c\x18")),
    _format("compressed with LZO", "unpack it first (lzop -d)", (0, b"\x89LZO\0\r\n\x1a\n")),
    _format("compressed with lzip", "unpack it first (lzip -d)", (0, b"LZIP\1")),
    _format("compressed with compress", "unpack it first (uncompress)", (0, b"\x1f\x9d")),
    # programs
    _format("an a.out executable", _NO_SYSTEM, (0, b"\x07\x01\x64\0")),
    _format("an a.out executable", _NO_SYSTEM, (0, b"\x08\x01\x64\0")),
    _format("an a.out executable", _NO_SYSTEM, (0, b"\x0b\x01\x64\0")),
    _format("an a.out executable", _NO_SYSTEM, (0, b"\xcc\0\x64\0")),
    _format("an a.out executable or object", _NO_SYSTEM, (0, b"\x07\x01\0\0")),
    _format("an a.out executable", _NO_SYSTEM, (0, b"\x0b\x01\0\0")),
    _format("an a.out executable (BSD)", _NO_SYSTEM, (0, b"\0\x86\x01\x0b")),
    _format("a Plan 9 executable", _NO_SYSTEM, (0, b"\0\0\1\xeb")),
    _format("a COFF object for i386", "link it to an ELF", (0, b"\x4c\1"), (3, b"\0"), (16, b"\0\0")),
    _format("a Mach-O executable", _NO_SYSTEM, (0, b"\xce\xfa\xed\xfe")),
    _format("a 64-bit Mach-O executable", _OTHER_PROCESSOR, (0, b"\xcf\xfa\xed\xfe")),
    _format("a Mach-O executable for another processor", _OTHER_PROCESSOR, (0, b"\xfe\xed\xfa\xce")),
    _format("a 64-bit Mach-O executable", _OTHER_PROCESSOR, (0, b"\xfe\xed\xfa\xcf")),
    # the same number: behind it are a few architectures there, a version of 45 or more here
    *(_format("a universal Mach-O executable", _NO_SYSTEM, (0, b"\xca\xfe\xba\xbe"), (4, bytes((0, 0, 0, count))))
      for count in range(45)),
    _format("a Java class", _NO_SYSTEM, (0, b"\xca\xfe\xba\xbe")),
    _format("a WebAssembly module", _NO_SYSTEM, (0, b"\0asm")),
    _format("LLVM bitcode", "compile and link it to an ELF", (0, b"BC\xc0\xde")),
    # firmware
    _format("a PC's option ROM", _NO_FIRMWARE, (0, b"\x55\xaa"), (3, b"\xeb")),
    _format("a PC's option ROM", _NO_FIRMWARE, (0, b"\x55\xaa"), (3, b"\xe9")),
    _format("a PC's option ROM", _NO_FIRMWARE, (0, b"\x55\xaa"), (3, b"\xcb")),
    _format("a PC's option ROM", _NO_FIRMWARE, (0, b"\x55\xaa"), (0x18, b"\x1c\0")),
    _format("a PC's BIOS", _NO_FIRMWARE, (-16, b"\xea"), (-13, b"\0\xf0")),  # JMP F000:... at the reset vector
    _format("EFI firmware", _NO_FIRMWARE, (0x28, b"_FVH")),
    # texts with a name; others are recognised by having nothing but text in them
    _format("a script", _NO_SYSTEM, (0, b"#!")),
    _format("a web page", _INCOMPLETE, (0, b"<!DOCTYPE")),
    _format("a web page", _INCOMPLETE, (0, b"<!doctype")),
    _format("a web page", _INCOMPLETE, (0, b"<html")),
    _format("a Git LFS pointer", _INCOMPLETE, (0, b"version https://git-lfs")),
    _format("an Intel HEX file", "convert it (objcopy -I ihex -O binary) and give --flat ADDRESS", (0, b":0200000")),
    _format("an Intel HEX file", "convert it (objcopy -I ihex -O binary) and give --flat ADDRESS", (0, b":10")),
    _format("S-records", "convert them (objcopy -I srec -O binary) and give --flat ADDRESS", (0, b"S0"), (4, b"0000")),
    _format("a snapshot of a QEMU machine", "", (0, b"QEVM\0\0\0\3")),
    _format("a PDF document", "", (0, b"%PDF-")),
    _format("a PNG picture", "", (0, b"\x89PNG\r\n\x1a\n")),
    _format("a JPEG picture", "", (0, b"\xff\xd8\xff")),
)  # fmt: skip

# Behind an "MZ" header, whose word at 0x3C points to another: that one's signature.
DOS_PROGRAM = Format("a DOS program", _NO_DOS, ())
DOS_SUCCESSORS = {
    b"NE": Format("a 16-bit Windows or OS/2 program", _NO_SYSTEM, ()),
    b"LE": Format("a 32-bit DOS, Windows or OS/2 program", _NO_SYSTEM, ()),
    b"LX": Format("an OS/2 program", _NO_SYSTEM, ()),
}
# PE (Microsoft's specification, revision 12): subsystems and machines
PE_SUBSYSTEMS = {
    10: Format("an EFI application", _NO_EFI, ()),
    11: Format("an EFI boot driver", _NO_EFI, ()),
    12: Format("an EFI driver", _NO_EFI, ()),
    13: Format("an EFI ROM image", _NO_EFI, ()),
}
WINDOWS_PROGRAM = Format("a Windows program", _NO_SYSTEM, ())
PE_MACHINES = {
    0x14C: "i386", 0x1C0: "ARM", 0x1C2: "ARM", 0x1C4: "ARM", 0x200: "Itanium", 0xEBC: "EFI byte code", 0x5032: "RISC-V",
    0x5064: "RISC-V", 0x6232: "LoongArch", 0x6264: "LoongArch", 0x8664: "x86-64", 0xAA64: "AArch64",
}  # fmt: skip

# Disks with a boot sector that is none without the rest of them, known by more than a magic number.
PARTITIONED_DISK = Format("a disk image with an MBR partition table", _DISK, ())
FAT_DISK = Format("a disk image with a FAT file system", _DISK, ())
FLOPPY = Format("a floppy disk image", _DISKETTE, ())
BOOTABLE_DISK = Format("a disk image", _DISK, ())
FLOPPY_KIB = (160, 180, 320, 360, 640, 720, 1200, 1440, 1680, 1720, 2880)

TEXT = Format("a text file", "", ())

# e_machine, as in the System V gABI and the supplements (16 bits).
ELF_MACHINES = {
    1: "WE 32100", 2: "SPARC", 4: "m68k", 5: "m88k", 6: "Intel MCU", 7: "i860", 8: "MIPS", 10: "MIPS", 15: "PA-RISC",
    18: "SPARC V8+", 20: "PowerPC", 21: "64-bit PowerPC", 22: "S/390", 23: "Cell SPU", 40: "ARM", 41: "Alpha",
    42: "SuperH", 43: "SPARC V9", 45: "ARC", 50: "Itanium", 53: "ColdFire", 75: "VAX", 83: "AVR", 87: "V850",
    88: "M32R", 92: "OpenRISC", 93: "ARCompact", 94: "Xtensa", 105: "MSP430", 106: "Blackfin", 113: "Nios II",
    164: "Hexagon", 180: "Intel L10M", 181: "Intel K10M", 183: "AArch64", 185: "AVR32", 188: "TILEPro",
    189: "MicroBlaze", 190: "CUDA", 191: "TILE-Gx", 195: "ARCv2", 224: "AMD GPU", 243: "RISC-V", 247: "BPF",
    251: "NEC VE", 252: "C-SKY", 258: "LoongArch", 0x9026: "Alpha",
}  # fmt: skip
