"""Multiboot 2 images (Multiboot2 Specification 2.0): ELF32, or raw with an address tag.

Entry: EAX = 0x36D76289, EBX = the information structure, flat segments (CS 0x08, the others 0x10), paging and
interrupts off. As with multiboot 1, ESP has a page of stack below it and GDTR a table with these two segments.

Where the specification leaves something open, GRUB 2.06 is the reference. A relocatable image goes where it was linked
for, if its header allows that: no code of it needs to be moved then.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from bt.boot.loaders import address_fields, elf
from bt.boot.loaders.flat import CODE_SELECTOR, DATA_SELECTOR
from bt.boot.loaders.information import Block, Module, place_modules
from bt.boot.loaders.multiboot import LOADER_NAME, places
from bt.boot.loaders.protected_mode import flat_entry, flat_gdt
from bt.boot.placement import (
    MOST_LOW_RAM,
    Executable,
    PhysicalMemory,
    Piece,
    align_down,
    align_up,
    check_pieces,
    first_fit,
    piece,
    store,
)
from bt.boot.state import EntryState
from bt.errors import BadImage
from bt.firmware.e820 import lower_kib, memory_map, upper_kib
from bt.memory.map_layout import HIGH_MEMORY, low_ram
from bt.x86.page import PAGE

HEADER_MAGIC = 0xE85250D6
ENTRY_MAGIC = 0x36D76289
SEARCH_BYTES = 32768
_ARCHITECTURES = (_I386, _MIPS) = (0, 4)
_HEADER = struct.Struct("<IIII")  # magic, architecture, length, checksum
_TAG = struct.Struct("<HHI")  # type, flags, size
_OPTIONAL = 1 << 0  # flag of a header tag: a loader that does not know it may go on


class HeaderTag(IntEnum):
    """Types of header tags (specification 3.1.4 to 3.1.14)."""

    END = 0
    INFORMATION_REQUEST = 1
    ADDRESS = 2
    ENTRY_ADDRESS = 3
    CONSOLE_FLAGS = 4
    FRAMEBUFFER = 5  # a preference by the specification's wording
    MODULE_ALIGNMENT = 6  # modules are always aligned to pages
    EFI_BOOT_SERVICES = 7  # this and the next two are for loaders that were started by EFI
    EFI_I386_ENTRY = 8
    EFI_AMD64_ENTRY = 9
    RELOCATABLE = 10


class Tag(IntEnum):
    """Types of information tags (specification 3.6)."""

    END = 0
    COMMAND_LINE = 1
    LOADER_NAME = 2
    MODULE = 3
    BASIC_MEMORY = 4
    MEMORY_MAP = 6
    ELF_SECTIONS = 9
    LOAD_BASE = 21


_KNOWN_INFORMATION = 22  # types below are defined; not each can be given to everybody, and GRUB does not mind either
_MAP_ENTRY = struct.Struct("<QQII")
_SECTION = struct.Struct("<10I")
_SECTION_ADDRESS, _SHT_NULL, _SHT_NOBITS = 3, 0, 8
_MOST_SECTIONS = 10_000
_HIGHEST = 2  # preference of a relocatable image


@dataclass(frozen=True)
class Relocation:
    """Where the image may go: `least` to `most` (last byte), at multiples of `alignment` bytes."""

    least: int
    most: int
    alignment: int
    preference: int


@dataclass(frozen=True)
class Header:
    """A header found at file offset `offset`, with what its tags demand."""

    offset: int
    length: int
    addresses: tuple[int, int, int, int] | None = None  # header, load, load end, bss end
    entry: int | None = None
    relocation: Relocation | None = None


def find_header(name: str, image: bytes) -> Header | None:
    """Search the first 32 KiB, on 8-byte boundaries. BadImage for damaged headers and demands that cannot be met."""
    for offset in places(image[:SEARCH_BYTES], HEADER_MAGIC, 8, _HEADER.size):
        fields = _HEADER.unpack_from(image, offset)
        _, architecture, length, _ = fields
        # the check sum aside, the odds are 1 in 2^47 that code contains this by chance
        if architecture not in _ARCHITECTURES or not _HEADER.size <= length < SEARCH_BYTES:
            continue
        where = f"{name}: multiboot 2 header at {offset:#x}"
        if architecture != _I386:
            raise BadImage(f"{where} is for MIPS; bt's processor is a 32-bit x86")
        if remainder := sum(fields) & 0xFFFF_FFFF:
            raise BadImage(f"{where}: magic + architecture + length + checksum is {remainder:#x}, not 0")
        if offset + length > len(image):
            raise BadImage(f"{where}: {length} bytes are more than the file has: cut off?")
        header = Header(offset, length)
        for kind, flags, contents in _tags(where, image[offset + _HEADER.size : offset + length]):
            header = _demand(where, header, kind, flags, contents)
        if header.addresses is None and elf.is_elf(image):
            elf.check_processor(name, image, "a multiboot 2 kernel")
        return header
    return None


def _tags(where: str, area: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and contents of each tag up to the one that ends them."""
    at = 0
    while at + _TAG.size <= len(area):
        kind, flags, size = _TAG.unpack_from(area, at)
        if size < _TAG.size or at + size > len(area):
            raise BadImage(f"{where}: tag of type {kind} has {size} bytes, {len(area) - at} are left")
        if kind == HeaderTag.END:
            return
        yield kind, flags, area[at + _TAG.size : at + size]
        at += align_up(size, 8)
    raise BadImage(f"{where}: no tag ends it")


def _demand(where: str, header: Header, kind: int, flags: int, contents: bytes) -> Header:
    """The header with one more tag. Raises BadImage for what cannot be met and is not optional."""

    def words(count: int) -> tuple[int, ...]:
        if len(contents) < 4 * count:
            raise BadImage(f"{where}: tag of type {kind} has {len(contents)} bytes instead of {4 * count}")
        return struct.unpack_from(f"<{count}I", contents)

    match kind:
        case HeaderTag.INFORMATION_REQUEST:
            wanted = struct.unpack(f"<{len(contents) // 4}I", contents[: len(contents) // 4 * 4])
            unknown = [each for each in wanted if each >= _KNOWN_INFORMATION]
            if unknown and not flags & _OPTIONAL:
                raise BadImage(f"{where} demands information of unknown type {unknown[0]}")
        case HeaderTag.ADDRESS:
            first, load_from, load_end, bss_end = words(4)
            return replace(header, addresses=(first, load_from, load_end, bss_end))
        case HeaderTag.ENTRY_ADDRESS:
            return replace(header, entry=words(1)[0])
        case HeaderTag.RELOCATABLE:
            relocation = Relocation(*words(4))
            if relocation.alignment & (relocation.alignment - 1) or relocation.least > relocation.most:
                raise BadImage(f"{where}: it cannot be placed at {relocation}")
            return replace(header, relocation=relocation)
        case _ if kind not in tuple(HeaderTag) and not flags & _OPTIONAL:
            raise BadImage(f"{where} demands an unknown feature (tag of type {kind})")
    return header


def _parse(name: str, image: bytes, header: Header) -> Executable:
    who = f"{name}: multiboot 2"
    if header.addresses is not None:
        if header.entry is None:
            raise BadImage(f"{who} header has an address tag but no entry address tag")
        first, load_from, load_end, bss_end = header.addresses
        # all ones: the file begins with what is to be loaded, wherever the header is
        load_from = first - header.offset if load_from == 0xFFFF_FFFF else load_from
        return address_fields.parse(who, image, header.offset, first, load_from, load_end, bss_end, header.entry)
    if not elf.is_elf(image):
        raise BadImage(f"{who} header at {header.offset:#x} without address tag, and not an ELF: add that tag")
    executable = elf.parse(name, image)
    return executable if header.entry is None else executable._replace(entry=header.entry)


def _relocate(name: str, executable: Executable, relocation: Relocation | None, ram_size: int) -> Executable:
    """The executable at a place that its header allows. Raises BadImage if there is none."""
    if relocation is None:
        return executable
    start = min(each.paddr for each in executable.pieces)
    size = max(each.end for each in executable.pieces) - start
    alignment = max(relocation.alignment, 1)
    least = align_up(max(relocation.least, HIGH_MEMORY), alignment)
    last = align_down(min(relocation.most + 1, low_ram(ram_size)) - size, alignment)
    fits = relocation.least <= start and start + size - 1 <= relocation.most and start % alignment == 0
    target = start
    if relocation.preference == _HIGHEST or not fits:
        target = last if relocation.preference == _HIGHEST else least
        if not least <= target <= last:
            raise BadImage(
                f"{name}: {size:#x} bytes have no place between {relocation.least:#x} and {relocation.most:#x}, "
                "where its multiboot 2 header wants them; give it more memory"
            )
    moved = [each._replace(paddr=each.paddr - start + target) for each in executable.pieces]
    return Executable(executable.entry - start + target, moved)


@dataclass
class _Sections:
    """Section headers of an ELF as the kernel gets them: those that are not loaded otherwise are, behind `free`."""

    count: int = 0
    names: int = 0  # number of the section with the names
    table: bytes = b""
    pieces: list[Piece] = field(default_factory=list)


def _sections(image: bytes, free: int) -> _Sections:
    """What GRUB does for symbol tables and debug information. None if the headers lie outside the file."""
    offset, size, count, names = elf.section_table(image)
    end = offset + size * count
    if size != _SECTION.size or not 0 < count < _MOST_SECTIONS or end > len(image):
        return _Sections()
    found = _Sections(count, names)
    for number in range(count):
        entry = list(_SECTION.unpack_from(image, offset + number * size))
        _, kind, _, address, start, length, _, _, alignment, _ = entry
        if kind not in (_SHT_NULL, _SHT_NOBITS) and not address and length and start + length <= len(image):
            free = align_up(free, max(alignment, 4) if alignment <= PAGE else PAGE)
            found.pieces.append(piece(free, image[start : start + length], f"section {number}"))
            entry[_SECTION_ADDRESS] = free
            free += length
        found.table += _SECTION.pack(*entry)
    return found


@dataclass(frozen=True)
class _Contents:
    """All that the information structure tells, but where RAM is."""

    command_line: bytes
    modules: Sequence[Module]
    module_starts: Sequence[int]
    sections: _Sections
    load_base: int | None


def _information(base: int, ram_size: int, told: _Contents) -> bytes:
    """The information structure (specification 3.4) at physical `base`."""
    block = Block(base)

    def tag(kind: Tag, contents: bytes) -> None:
        block.put(struct.pack("<II", kind, 8 + len(contents)) + contents, alignment=8)

    block.put(bytes(8))
    tag(Tag.COMMAND_LINE, told.command_line + b"\0")
    tag(Tag.LOADER_NAME, LOADER_NAME + b"\0")
    for each, start in zip(told.modules, told.module_starts, strict=True):
        tag(Tag.MODULE, struct.pack("<II", start, start + len(each.data)) + each.command_line + b"\0")
    tag(Tag.BASIC_MEMORY, struct.pack("<II", lower_kib(ram_size), upper_kib(ram_size)))
    entries = b"".join(_MAP_ENTRY.pack(each.base, each.length, each.type, 0) for each in memory_map(ram_size))
    tag(Tag.MEMORY_MAP, struct.pack("<II", _MAP_ENTRY.size, 0) + entries)
    if told.sections.count:
        # three words, as GRUB has them and kernels read them; the specification's text says half words
        head = struct.pack("<III", told.sections.count, _SECTION.size, told.sections.names)
        tag(Tag.ELF_SECTIONS, head + told.sections.table)
    if told.load_base is not None:
        tag(Tag.LOAD_BASE, struct.pack("<I", told.load_base))
    tag(Tag.END, b"")
    struct.pack_into("<I", block.bytes, 0, len(block.bytes))
    return bytes(block.bytes)


def load(
    name: str, image: bytes, header: Header, ram: PhysicalMemory, *, command_line: bytes, modules: Sequence[Module] = ()
) -> EntryState:
    """Put kernel, modules and information structure into RAM. Raises BadImage."""
    executable = _relocate(name, _parse(name, image, header), header.relocation, ram.size)
    placed = place_modules(modules, executable.pieces)
    pieces = [*executable.pieces, *placed]
    sections = _Sections()
    if elf.is_elf(image) and header.addresses is None:
        sections = _sections(image, max(HIGH_MEMORY, *(each.end for each in pieces)))
        pieces += sections.pieces
    check_pieces(name, pieces, MOST_LOW_RAM)  # before addresses are put into fields of 32 bits

    base = min(each.paddr for each in executable.pieces) if header.relocation else None
    told = _Contents(command_line, modules, [each.paddr for each in placed], sections, base)
    gdt = flat_gdt(CODE_SELECTOR, DATA_SELECTOR)
    information_bytes = len(_information(0, ram.size, told))
    stack = first_fit(PAGE + information_bytes + len(gdt), pieces)
    information_base = stack + PAGE
    gdt_base = information_base + information_bytes
    pieces += [
        piece(information_base, _information(information_base, ram.size, told), "multiboot 2 information"),
        piece(gdt_base, gdt, "GDT"),
    ]
    check_pieces(name, pieces, ram.size)
    store(ram, pieces)
    return flat_entry(
        "multiboot 2",
        executable.entry,
        code=CODE_SELECTOR,
        data=DATA_SELECTOR,
        gdt_base=gdt_base,
        gpr={"eax": ENTRY_MAGIC, "ebx": information_base, "esp": information_base},
        pieces=pieces,
    )
