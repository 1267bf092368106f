"""ELF executables for i386 and x86-64: what to put where, and the physical entry (TIS ELF specification 1.2; ABIs).

A segment goes to its *physical* address. The entry may be given as a virtual address of a segment (kernels linked
high) or directly as a physical one; both are understood.

A plain static executable without multiboot header starts in flat protected mode at its entry, with a small stack. One
that wants to be started otherwise says so in a note and is refused.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

from bt.boot.loaders.flat import enter
from bt.boot.placement import Executable, PhysicalMemory, Piece, align_up
from bt.boot.state import EntryState
from bt.errors import BadImage

MAGIC = b"\x7fELF"

_ELFCLASS32, _ELFCLASS64 = 1, 2


class _Format(NamedTuple):
    """Headers of a class; `fields` of a program header: type, offset, vaddr, paddr, filesz, memsz by their places."""

    header: struct.Struct
    program_header: struct.Struct
    fields: tuple[int, ...]


_FORMATS = {
    _ELFCLASS32: _Format(struct.Struct("<16sHHIIIIIHHHHHH"), struct.Struct("<IIIIIIII"), (0, 1, 2, 3, 4, 5)),
    _ELFCLASS64: _Format(struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQQQ"), (0, 2, 3, 4, 5, 6)),
}
_BYTE_ORDERS: dict[int, Literal["little", "big"]] = {1: "little", 2: "big"}  # by data encoding
_MACHINE = 18  # offset of e_machine, whatever the class
_ET_EXEC = 2
_X86 = (_EM_386, _EM_X86_64) = (3, 62)
_PT_LOAD, _PT_INTERP, _PT_NOTE = 1, 3, 4
_PN_XNUM = 0xFFFF
_FREEBSD_INTERPRETER = b"/red/herring"  # sys/conf/kern.pre.mk

_OTHER_TYPES = {
    0: "an ELF without a type",
    1: "a relocatable object; link it statically to fixed addresses",
    3: "a shared object or position-independent executable; link it statically to fixed addresses",
    4: "a core dump, not a guest",
}
_MOST_NOTES = 1000  # thousands of headers may name the same bytes
_LONGER_NAME = 8  # bytes; than any below
_NOTE = struct.Struct("<III")  # bytes of the name, bytes of the description, type
_OTHER_STARTS = {
    # NT_GNU_ABI_TAG (Linux Standard Base 5.0, core, 11.3): the C library's startup code puts it there
    (b"GNU\0", 1): "a program for an operating system; bt runs kernels",
}


class _Segment(NamedTuple):
    """A PT_LOAD program header, sizes in bytes."""

    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int


def is_elf(image: bytes) -> bool:
    return image.startswith(MAGIC)


def is_64_bit(image: bytes) -> bool:
    """Whether an ELF has code for 64-bit mode; kernels of that kind are entered in 32-bit mode all the same."""
    return image[_MACHINE : _MACHINE + 2] == _EM_X86_64.to_bytes(2, "little")


def _format(image: bytes) -> _Format:
    return _FORMATS.get(image[4] if len(image) > 4 else _ELFCLASS32, _FORMATS[_ELFCLASS32])


def _program_header(image: bytes, phoff: int, number: int) -> tuple[int, ...]:
    """Type, offset, vaddr, paddr, filesz, memsz."""
    shape = _format(image)
    found = shape.program_header.unpack_from(image, phoff + number * shape.program_header.size)
    return tuple(found[place] for place in shape.fields)


def parse(name: str, image: bytes, *, any_entry: bool = False) -> Executable:
    """Read a static i386 executable. Whether it fits into RAM is for `check_pieces` to say. Raises BadImage.

    With `any_entry` its entry may lie anywhere: somebody else says where it starts.
    """
    check_processor(name, image)
    _, kind, _, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = _format(image).header.unpack_from(image)
    if kind != _ET_EXEC:
        raise BadImage(f"{name}: {_OTHER_TYPES.get(kind, f'ELF type {kind:#x}, not an executable')}")
    expected = _format(image).program_header.size
    if phentsize != expected or not 0 < phnum < _PN_XNUM:
        raise BadImage(f"{name}: {phnum} ELF program headers of {phentsize} bytes; expected 1.. of {expected}")
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
    start = entry if any_entry else _physical_entry(name, entry, list(segments.values()))
    return Executable(start, pieces)


def check_processor(name: str, image: bytes, kind: str = "an ELF") -> None:
    """Raise BadImage unless an ELF is for i386. The machine is judged before the class, which follows from it."""
    expected = _format(image).header.size
    if len(image) < expected:
        raise BadImage(f"{name}: ELF header is cut off: the file has {len(image)} of {expected} bytes")
    elf_class, encoding = image[4], image[5]
    if elf_class not in (_ELFCLASS32, _ELFCLASS64) or encoding not in _BYTE_ORDERS:
        raise BadImage(f"{name}: damaged ELF header (class {elf_class}, data encoding {encoding}; i386 has 1 and 1)")
    machine = int.from_bytes(image[_MACHINE : _MACHINE + 2], _BYTE_ORDERS[encoding])
    as_little_endian = int.from_bytes(image[_MACHINE : _MACHINE + 2], "little")
    if machine not in _X86 and as_little_endian not in _X86:
        from bt.boot.files.formats import ELF_MACHINES  # for those few who need it

        processor = ELF_MACHINES.get(machine, f"processor number {machine} (e_machine)")
        raise BadImage(f"{name}: {kind} for {processor}; bt's processor is a 32-bit x86")
    if _BYTE_ORDERS[encoding] != "little" or (machine, elf_class) == (_EM_386, _ELFCLASS64):
        raise BadImage(
            f"{name}: damaged ELF header (class {elf_class}, data encoding {encoding} for an x86; i386 has 1 and 1)"
        )


def _segments(name: str, image: bytes, phoff: int, phnum: int) -> dict[int, _Segment]:
    """PT_LOAD headers that occupy memory, by their number in the program header table."""
    segments = {}
    for number in range(phnum):
        kind, offset, vaddr, paddr, filesz, memsz = _program_header(image, phoff, number)
        if kind == _PT_INTERP:
            if image[offset : offset + filesz].rstrip(b"\0") == _FREEBSD_INTERPRETER:
                raise BadImage(
                    f"{name}: a FreeBSD kernel, which FreeBSD's own loader must start: boot its disk with -hda"
                )
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
    """Put a plain executable into RAM and enter it as a flat image is entered. Raises BadImage.

    Nobody says how one for x86-64 is to be entered: it would find itself in 32-bit mode.
    """
    if is_64_bit(image):
        raise BadImage(f"{name}: an ELF for x86-64 without multiboot header or PVH note, which name a 32-bit entry")
    executable = parse(name, image)
    for note, what in _OTHER_STARTS.items():
        if find_note(image, note) is not None:
            raise BadImage(f"{name}: {what}")
    return enter(name, executable, ram)


def find_note(image: bytes, wanted: tuple[bytes, int]) -> bytes | None:
    """Description of the note with that name (its NUL included) and type; None if an i386 ELF has none."""
    for name, kind, description in islice(_notes(image), _MOST_NOTES):
        if (name, kind) == wanted:
            return bytes(description)
    return None


def section_table(image: bytes) -> tuple[int, int, int, int]:
    """Where the section headers are: file offset, bytes of each, how many, which one has the names."""
    _, _, _, _, _, _, offset, _, _, _, _, size, count, names = _format(image).header.unpack_from(image)
    return offset, size, count, names


def _notes(image: bytes) -> Iterator[tuple[bytes, int, memoryview]]:
    """Name, type and description of each note; what lies beyond the end of the file is left out."""
    phoff, phentsize, phnum = (_format(image).header.unpack_from(image)[n] for n in (5, 9, 10))
    if phentsize != _format(image).program_header.size or phoff + phnum * phentsize > len(image):
        return
    for number in range(phnum):
        kind, offset, _, _, size, _ = _program_header(image, phoff, number)
        notes = memoryview(image)[offset : offset + size] if kind == _PT_NOTE else memoryview(b"")
        while len(notes) >= _NOTE.size:
            name_bytes, description_bytes, note_type = _NOTE.unpack_from(notes)
            description = _NOTE.size + align_up(name_bytes, 4)
            name = bytes(notes[_NOTE.size : _NOTE.size + min(name_bytes, _LONGER_NAME)])
            yield name, note_type, notes[description : description + description_bytes]
            notes = notes[_NOTE.size + align_up(name_bytes, 4) + align_up(description_bytes, 4) :]
