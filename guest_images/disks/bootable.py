"""A disk that a BIOS boots: a partition table, GRUB before the partition, a file system in it."""

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from guest_images.apt import FetchError
from guest_images.disks.root import MIB, file_system
from guest_images.disks.tree import Tree

SECTOR = 512
FIRST_SECTOR = 2048  # of the partition
LINUX = 0x83
ACTIVE = 0x80
TABLE, SIGNATURE = 446, b"\x55\xaa"
BEYOND_CHS = b"\xfe\xff\xff"
GRUB = Path("/usr/lib/grub/i386-pc")
MODULES = ("biosdisk", "part_msdos", "ext2", "normal", "linux", "serial", "terminal", "echo", "ls", "cat", "halt",
           "reboot", "test", "configfile", "multiboot")  # fmt: skip


def disk(tree: Tree, size: int) -> bytes:
    """A disk of `size` bytes with one partition, the tree in it and /boot/grub/grub.cfg for GRUB to read."""
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "disk"
        with image.open("wb") as file:
            file.truncate(size)
        offset = FIRST_SECTOR * SECTOR
        file_system(tree, size - offset, offset, image)
        with image.open("r+b") as file:
            file.write(_boot_record(size // SECTOR - FIRST_SECTOR))
            core = _core(Path(scratch) / "core")
            if len(core) > offset - SECTOR:
                raise FetchError(f"GRUB's core has {len(core)} bytes, more than there is before the partition")
            file.write(core)
        return image.read_bytes()


def _boot_record(sectors: int) -> bytes:
    """GRUB's boot.img, which loads the sector after it and what that says, with the table of one partition.

    Both know by default where that is: boot.img loads LBA 1, diskboot.img what follows from LBA 2 on.
    """
    code = _grub_file("boot.img").read_bytes()
    entry = struct.pack("<B3sB3sII", ACTIVE, BEYOND_CHS, LINUX, BEYOND_CHS, FIRST_SECTOR, sectors)
    return code[:TABLE] + entry + bytes(3 * 16) + SIGNATURE


def _core(path: Path) -> bytes:
    command = ["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", str(path), *MODULES]
    subprocess.run(command, check=True, capture_output=True)
    return path.read_bytes()


def _grub_file(name: str) -> Path:
    if not (GRUB / name).is_file() or shutil.which("grub-mkimage") is None:
        raise FetchError("GRUB's files for disks are not here; on Debian: apt-get install grub-common grub-pc-bin")
    return GRUB / name


def root_disk(tree: Tree) -> bytes:
    """A disk with room for what a session writes."""
    return disk(tree, 384 * MIB)
