"""ELF32 executables for i386: what to put where, and the physical entry (TIS ELF specification 1.2, System V i386 ABI).

A segment goes to its *physical* address. The entry may be given as a virtual address of a segment (kernels linked
high) or directly as a physical one; both are understood.

A plain static executable without multiboot header starts in flat protected mode at its entry, with a small stack.
"""

import struct
from dataclasses import dataclass

from bt.boot.flat import enter
from bt.boot.placement import Executable, PhysicalMemory, Piece
from bt.boot.state import EntryState
from bt.errors import BadImage

MAGIC = b"\x7fELF"

_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIIIIIII")

_ELFCLASS32, _ELFCLASS64 = 1, 2
_ELFDATA2LSB = 1
_ET_EXEC = 2
_EM_386 = 3
_PT_LOAD, _PT_INTERP = 1, 3
_PN_XNUM = 0xFFFF

_TYPE_NAMES = {1: "a relocatable object", 3: "a shared object or position-independent executable", 4: "a core dump"}


@dataclass(frozen=True)
class _Segment:
    """A PT_LOAD program header, sizes in bytes."""

    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


def is_elf(image: bytes) -> bool:
    return image.startswith(MAGIC)


def parse(name: str, image: bytes) -> Executable:
    """Read a static i386 executable. Whether it fits into RAM is for `check_pieces` to say. Raises BadImage."""
    if len(image) < _HEADER.size:
        raise BadImage(f"{name}: ELF header is cut off: the file has {len(image)} of {_HEADER.size} bytes")
    ident, kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = _HEADER.unpack_from(image)
    if ident[4] == _ELFCLASS64:
        raise BadImage(f"{name}: a 64-bit ELF; bt runs 32-bit ones (objcopy -O elf32-i386 converts a multiboot kernel)")
    if ident[4] != _ELFCLASS32 or ident[5] != _ELFDATA2LSB:
        raise BadImage(f"{name}: ELF class {ident[4]}, data encoding {ident[5]}; i386 has class 1 and encoding 1")
    if machine != _EM_386:
        raise BadImage(f"{name}: an ELF for machine {machine}; i386 is machine {_EM_386}")
    if kind != _ET_EXEC:
        raise BadImage(f"{name}: {_TYPE_NAMES.get(kind, f'ELF type {kind}')}; link it statically to fixed addresses")
    if phentsize != _PROGRAM_HEADER.size or not 0 < phnum < _PN_XNUM:
        raise BadImage(
            f"{name}: {phnum} ELF program headers of {phentsize} bytes; expected 1.. of {_PROGRAM_HEADER.size}"
        )
    if phoff + phnum * phentsize > len(image):
        raise BadImage(
            f"{name}: ELF program headers at {phoff:#x}..{phoff + phnum * phentsize - 1:#x} "
            f"lie beyond the end of the file ({len(image):#x})"
        )
    segments = _segments(name, image, phoff, phnum)
    contents = memoryview(image)  # thousands of headers may name the same bytes: copy none before the overlap check
    pieces = [
        Piece(each.paddr, contents[each.offset : each.offset + each.filesz], each.memsz, f"segment {number}")
        for number, each in segments.items()
    ]
    return Executable(_physical_entry(name, entry, list(segments.values())), pieces)


def _segments(name: str, image: bytes, phoff: int, phnum: int) -> dict[int, _Segment]:
    """PT_LOAD headers that occupy memory, by their number in the program header table."""
    segments = {}
    for number in range(phnum):
        kind, offset, vaddr, paddr, filesz, memsz, _, _ = _PROGRAM_HEADER.unpack_from(image, phoff + number * 32)
        if kind == _PT_INTERP:
            raise BadImage(
                f"{name}: dynamically linked; a guest image has no loader to find libraries: link with -static"
            )
        if kind != _PT_LOAD or memsz == 0 == filesz:
            continue
        if filesz > memsz:
            raise BadImage(f"{name}: segment {number} has {filesz:#x} bytes in the file but {memsz:#x} in memory")
        if offset + filesz > len(image):
            raise BadImage(
                f"{name}: segment {number} ends at file offset {offset + filesz:#x}, "
                f"the file at {len(image):#x}: is it cut off?"
            )
        segments[number] = _Segment(offset, vaddr, paddr, filesz, memsz)
    if not segments:
        raise BadImage(f"{name}: an ELF without loadable segments")
    return segments


def _physical_entry(name: str, entry: int, segments: list[_Segment]) -> int:
    for each in segments:
        if each.vaddr <= entry < each.vaddr + each.memsz:
            return entry - each.vaddr + each.paddr
    if any(each.paddr <= entry < each.paddr + each.memsz for each in segments):
        return entry
    raise BadImage(f"{name}: entry {entry:#x} lies in none of its segments")


def load(name: str, image: bytes, ram: PhysicalMemory) -> EntryState:
    """Put a plain executable into RAM and enter it as a flat image is entered. Raises BadImage."""
    return enter(name, parse(name, image), ram)
