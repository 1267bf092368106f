"""Tables that point at each other: where they go is the firmware's choice, or ours.

Firmware gets them as files of fw_cfg, with a script that says what to do when it has found places for them (QEMU's
linker/loader interface, `etc/table-loader`). Direct boots have no firmware, and `Linkable.placed` does the same.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

SCRIPT = "etc/table-loader"
NAME_BYTES = 56
ENTRY_BYTES = 128
ALLOCATE, ADD_POINTER, ADD_CHECKSUM = 1, 2, 3


HIGH = 1  # where firmware is to put a file: at the end of RAM
LOW = 2  # at F0000h-FFFFFh, where operating systems look for anchors


class Pointer(NamedTuple):
    """`size` bytes at `offset` of `file` hold an offset into `target`, and are to hold its address."""

    file: str
    offset: int
    size: int
    target: str


class Checksum(NamedTuple):
    """The byte at `offset` makes the bytes [start, start + length) of `file` add up to 0 modulo 256."""

    file: str
    offset: int
    start: int
    length: int


class Linkable:
    """Files, and what is to be done to them once each has its place; in the order in which it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self._alignments: dict[str, tuple[int, int]] = {}
        self._steps: list[Pointer | Checksum] = []

    def add_file(self, name: str, alignment: int, zone: int) -> bytearray:
        """An empty one, to be filled."""
        self._alignments[name] = alignment, zone
        return self.files.setdefault(name, bytearray())

    def point(self, file: str, offset: int, size: int, target: str, target_offset: int) -> None:
        self.files[file][offset : offset + size] = target_offset.to_bytes(size, "little")
        self._steps.append(Pointer(file, offset, size, target))

    def check(self, file: str, offset: int, start: int, length: int) -> None:
        """Its checksum is wanted, over all pointers so far."""
        self._steps.append(Checksum(file, offset, start, length))

    def script(self) -> bytes:
        """The linker/loader script: entries of 128 bytes."""
        entries = [
            struct.pack("<I56sIB", ALLOCATE, name.encode(), alignment, zone)
            for name, (alignment, zone) in self._alignments.items()
        ]
        for step in self._steps:
            if isinstance(step, Pointer):
                entries.append(
                    struct.pack(
                        "<I56s56sIB", ADD_POINTER, step.file.encode(), step.target.encode(), step.offset, step.size
                    )
                )
            else:
                entries.append(
                    struct.pack("<I56sIII", ADD_CHECKSUM, step.file.encode(), step.offset, step.start, step.length)
                )
        return b"".join(entry.ljust(ENTRY_BYTES, b"\0") for entry in entries)

    def placed(self, addresses: Mapping[str, int]) -> dict[str, bytes]:
        """The files as they are in memory when each is at its address."""
        files = {name: bytearray(data) for name, data in self.files.items()}
        for step in self._steps:
            data = files[step.file]
            if isinstance(step, Pointer):
                part = slice(step.offset, step.offset + step.size)
                address = int.from_bytes(data[part], "little") + addresses[step.target]
                data[part] = address.to_bytes(step.size, "little")
            else:
                data[step.offset] = 0
                data[step.offset] = checksum(data[step.start : step.start + step.length])
        return {name: bytes(data) for name, data in files.items()}

    def alignment(self, name: str) -> int:
        return self._alignments[name][0]


def checksum(data: bytes | bytearray) -> int:
    """The byte that makes the sum 0."""
    return -sum(data) & 0xFF
