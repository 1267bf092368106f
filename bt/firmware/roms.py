"""Firmware images on the host: where SeaBIOS and its VGA BIOS are found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from bt.errors import BadImage, BadUsage

# where Debian, Fedora and others put SeaBIOS and what comes with QEMU
SYSTEM_DIRECTORIES = ("/usr/share/seabios", "/usr/share/qemu", "/usr/share/vgabios")
LARGEST_BIOS = 16 << 20  # bytes; QEMU takes as much
ROM_UNIT = 512  # bytes; what the third byte of an option ROM counts


class Firmware(NamedTuple):
    """File names for one kind of machine: its BIOS, and the option ROM of its display."""

    bios: str
    vga: str


BUILTIN = "builtin"  # what -bios calls the one that is in bt itself (bt/firmware/builtin)
FIRMWARE = {
    "pc": Firmware("bios-256k.bin", "vgabios-stdvga.bin"),
    "isapc": Firmware("bios.bin", "vgabios-isavga.bin"),
}


def find(name: str, directories: Sequence[str] = ()) -> str | None:
    """The file of that name in `directories`, then where systems have it; a name with a slash is taken as it is."""
    if "/" in name or os.path.isfile(name):
        return name
    for directory in (*directories, *SYSTEM_DIRECTORIES):
        path = os.path.join(directory, name)
        if os.path.isfile(path):
            return path
    return None


def read_bios(name: str, directories: Sequence[str] = ()) -> bytes:
    """The BIOS image `name`. Raises BadUsage if there is none, BadImage if it cannot be one."""
    path = find(name, directories)
    if path is None:
        looked = ", ".join((*directories, *SYSTEM_DIRECTORIES))
        raise BadUsage(
            f"{name}: no such firmware in {looked}; install the package seabios, or name a file with -bios, "
            "or its directory with -L"
        )
    image = _read(path)
    if not image or len(image) > LARGEST_BIOS or len(image) % 0x1000:
        raise BadImage(f"{path}: {len(image)} bytes are no BIOS: whole pages of 4 KiB are wanted, at most 16 MiB")
    return image


def read_option_rom(name: str, directories: Sequence[str] = ()) -> bytes:
    """The option ROM, or nothing where there is no such file. Raises BadUsage, and BadImage for what is none."""
    path = find(name, directories)
    if path is None:
        return b""
    _check_option_rom(path)
    return _read(path)


def option_rom_bytes(name: str, directories: Sequence[str] = ()) -> int:
    """How many it has, which is asked each time a machine is made, and takes a tenth of reading it. Raises as that."""
    path = find(name, directories)
    return 0 if path is None else _check_option_rom(path)


def _check_option_rom(path: str) -> int:
    """Its bytes, if it begins as one: firmware passes over others without a word, and the screen stays dark."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size, head = os.fstat(descriptor).st_size, os.read(descriptor, 3)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BadUsage(f"{path}: {error.strerror}") from error
    units = head[2] if len(head) == 3 and head.startswith(b"\x55\xaa") else 0
    if not 0 < units * ROM_UNIT <= size <= LARGEST_BIOS:
        raise BadImage(
            f"{path}: {size} bytes are no option ROM: 55h, AAh and its length in units of 512 bytes are wanted first, "
            "and that many bytes; take the file away, or name another directory with -L"
        )
    return size


def _read(path: str) -> bytes:
    try:
        if not os.path.isfile(path) and os.path.exists(path):  # a FIFO without a writer would wait
            raise BadUsage(f"{path}: not a regular file")
        with open(path, "rb") as file:
            return file.read(LARGEST_BIOS + 1)
    except OSError as error:
        raise BadUsage(f"{path}: {error.strerror}") from error
