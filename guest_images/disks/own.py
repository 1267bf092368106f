"""Disks and CDs with guests of our own on them."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import guest_images
from guest_images.apt import FetchError
from guest_images.assembler import assemble_program
from guest_images.debian_packages import packages_of
from guest_images.disks.bootable import SECTOR
from guest_images.disks.tree import Tree

SOURCES = Path(__file__).parents[1] / "sources" / "bios"
BOOT_SECTOR_ADDRESS = 0x7C00
FLOPPY_SECTORS, DISK_SECTORS = 2880, 4096
# sectors.asm's BY_CHS and BY_LBA
TEXTS: Mapping[int, bytes] = {40: b"sector 40 by cylinder, head, sector\r\n", 100: b"sector 100 by its number\r\n"}
ISOLINUX = "usr/lib/ISOLINUX/isolinux.bin"
SYSLINUX_MODULES = ("ldlinux.c32", "libutil.c32", "menu.c32", "mboot.c32", "libcom32.c32")
MENU = """\
SERIAL 0 115200
UI menu.c32
PROMPT 0
MENU TITLE A menu of ours
LABEL hello
  MENU LABEL Greetings
  KERNEL mboot.c32
  APPEND /hello.elf n=2
LABEL sieve
  MENU LABEL Prime numbers
  KERNEL mboot.c32
  APPEND /sieve.elf n=1
"""
GRUB_MENU = """\
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=-1
menuentry "Greetings" {
    multiboot /hello.elf n=2
}
menuentry "Prime numbers" {
    multiboot /sieve.elf n=1
}
menuentry "What multiboot 2 tells" {
    multiboot2 /multiboot2-info.elf x y=z
}
menuentry "64-bit mode" {
    multiboot2 /hello64-elf64.elf
}
"""


def services(sectors: int) -> bytes:
    """The boot disk of sources/bios/services.asm."""
    source = SOURCES / "services.asm"
    program = assemble_program(source.read_text("ascii"), 16, BOOT_SECTOR_ADDRESS, [SOURCES], source.name).image
    image = bytearray(sectors * SECTOR)
    image[: len(program)] = program
    for number, text in TEXTS.items():
        image[number * SECTOR : number * SECTOR + len(text)] = text
    return bytes(image)


def grub_cd() -> bytes:
    """GRUB, a menu and multiboot guests on a CD."""
    tree = _guests("hello", "sieve", "multiboot2-info", "hello64-elf64")
    tree.file("boot/grub/grub.cfg", GRUB_MENU)
    return _disc(tree, "grub-mkrescue", "-o")


def isolinux_cd() -> bytes:
    """ISOLINUX, its menu and multiboot guests on a CD."""
    packed = Tree()
    packed.unpack(packages_of("isolinux", "isolinux", "syslinux-common"))
    tree = _guests("hello", "sieve")
    tree.file("isolinux/isolinux.bin", packed.nodes[ISOLINUX].data)
    for name in SYSLINUX_MODULES:
        tree.file(f"isolinux/{name}", packed.nodes[f"usr/lib/syslinux/modules/bios/{name}"].data)
    tree.file("isolinux/isolinux.cfg", MENU)
    boot = ("-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4",
            "-boot-info-table")  # fmt: skip
    return _disc(tree, "xorriso", "-as", "mkisofs", "-R", *boot, "-o")


def _guests(*names: str) -> Tree:
    tree = Tree()
    for name in names:
        tree.file(f"{name}.elf", guest_images.image(name).read())
    return tree


def _disc(tree: Tree, *command: str) -> bytes:
    """What a command that ends in `-o` makes of the tree's files."""
    if shutil.which(command[0]) is None or shutil.which("xorriso") is None:
        raise FetchError(f"no {command[0]} here; on Debian: apt-get install xorriso grub-common grub-pc-bin mtools")
    with tempfile.TemporaryDirectory() as scratch:
        disc, files = Path(scratch) / "disc", Path(scratch) / "files"
        files.mkdir()
        tree.write(files)
        subprocess.run([*command, str(disc), str(files)], check=True, capture_output=True)
        return disc.read_bytes()
