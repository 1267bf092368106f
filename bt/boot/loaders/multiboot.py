"""Multiboot 1 images (Multiboot Specification 0.6.96): ELF32, or raw with the header's address fields (a.out kludge).

Entry: EAX = 0x2BADB002, EBX = the information structure, flat segments (CS 0x08, the others 0x10), paging and
interrupts off. The specification leaves ESP and GDTR open; here ESP has a page of stack below it and GDTR a table
with just those two segments, as guests written on other loaders happen to expect.

The information structure with all it points to lies in one block, by default from 0x9000, in any case in
conventional memory unless the image fills that. Modules follow the image above 1 MiB, page by page.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bt.boot.loaders import address_fields, elf
from bt.boot.loaders.flat import CODE_SELECTOR, DATA_SELECTOR
from bt.boot.loaders.information import Block, Module, place_modules
from bt.boot.loaders.protected_mode import flat_entry, flat_gdt
from bt.boot.placement import (
    MOST_LOW_RAM,
    Executable,
    PhysicalMemory,
    align_up,
    check_pieces,
    first_fit,
    piece,
    store,
)
from bt.boot.state import EntryState
from bt.errors import BadImage
from bt.firmware.e820 import lower_kib, memory_map, upper_kib
from bt.x86.page import PAGE

HEADER_MAGIC = 0x1BADB002
ENTRY_MAGIC = 0x2BADB002
SEARCH_BYTES = 8192
LOADER_NAME = b"bt"

# Header flags. The low half are demands: a loader must refuse what it does not know.
_PAGE_ALIGN_MODULES = 1 << 0
_WANT_MEMORY = 1 << 1
_WANT_VIDEO_MODE = 1 << 2  # a preference by the specification's wording; there is no display, and flag 11 says so
_DEMANDS = 0xFFFF
_ADDRESS_FIELDS = 1 << 16

# Flags of the information structure.
_HAS_MEMORY = 1 << 0
_HAS_CMDLINE = 1 << 2
_HAS_MODULES = 1 << 3
_HAS_MMAP = 1 << 6
_HAS_LOADER_NAME = 1 << 9

_INFO_BYTES = 116  # up to and including the VBE fields
_MMAP_ENTRY = struct.Struct("<IQQI")
_MODULE_ENTRY = struct.Struct("<IIII")


class Header(NamedTuple):
    """A multiboot header found at file offset `offset`; `addresses` are its five address fields, if it has them."""

    offset: int
    addresses: tuple[int, int, int, int, int] | None


def find_header(name: str, image: bytes) -> Header | None:
    """Search the first 8 KiB, on 4-byte boundaries. BadImage if there are only damaged headers or unknown demands."""
    searched = image[:SEARCH_BYTES]
    damaged = None
    for offset in places(searched, HEADER_MAGIC, 4, 12):
        magic, flags, checksum = struct.unpack_from("<III", searched, offset)
        remainder = (magic + flags + checksum) & 0xFFFF_FFFF
        if remainder:
            damaged = damaged or f"multiboot header at {offset:#x}: magic + flags + checksum is {remainder:#x}, not 0"
            continue
        unknown = flags & _DEMANDS & ~(_PAGE_ALIGN_MODULES | _WANT_MEMORY | _WANT_VIDEO_MODE)
        if unknown:
            raise BadImage(f"{name}: multiboot header at {offset:#x} demands unknown features (flags {unknown:#x})")
        if not flags & _ADDRESS_FIELDS:
            return Header(offset, None)
        if offset + 32 > len(searched):
            raise BadImage(f"{name}: multiboot header at {offset:#x} is cut off before its address fields")
        return Header(offset, struct.unpack_from("<IIIII", searched, offset + 12))
    if damaged:
        raise BadImage(f"{name}: {damaged}")
    return None


def places(searched: bytes, magic: int, alignment: int, size: int) -> Iterator[int]:
    """Aligned offsets of a magic number with a header of `size` bytes behind it."""
    wanted = magic.to_bytes(4, "little")
    offset = searched.find(wanted)
    while 0 <= offset <= len(searched) - size:
        if offset % alignment == 0:
            yield offset
        offset = searched.find(wanted, offset + 1)


def _parse(name: str, image: bytes, header: Header) -> Executable:
    if header.addresses is not None:
        return address_fields.parse(f"{name}: multiboot", image, header.offset, *header.addresses)
    if not elf.is_elf(image):
        raise BadImage(
            f"{name}: multiboot header at {header.offset:#x} without address fields, and not an ELF: set flag 16"
        )
    return elf.parse(name, image)


def _information(
    base: int, ram_size: int, command_line: bytes, modules: Sequence[Module], module_starts: Sequence[int]
) -> bytes:
    """The information structure (specification 3.3) at physical `base`, followed by what it points to."""
    block = Block(base)
    block.put(bytes(_INFO_BYTES))
    mmap = b"".join(
        _MMAP_ENTRY.pack(_MMAP_ENTRY.size - 4, each.base, each.length, each.type) for each in memory_map(ram_size)
    )
    entries = b"".join(
        _MODULE_ENTRY.pack(start, start + len(each.data), block.put_string(each.command_line), 0)
        for each, start in zip(modules, module_starts, strict=True)
    )
    fields = {
        0: _HAS_MEMORY | _HAS_CMDLINE | _HAS_MODULES | _HAS_MMAP | _HAS_LOADER_NAME,
        4: lower_kib(ram_size),
        8: upper_kib(ram_size),
        16: block.put_string(command_line),
        20: len(modules),
        24: block.put(entries),
        44: len(mmap),
        48: block.put(mmap),
        64: block.put_string(LOADER_NAME),
    }
    for offset, value in fields.items():
        struct.pack_into("<I", block.bytes, offset, value)
    return bytes(block.bytes)


def load(
    name: str, image: bytes, header: Header, ram: PhysicalMemory, *, command_line: bytes, modules: Sequence[Module] = ()
) -> EntryState:
    """Put kernel, modules and information structure into RAM. Raises BadImage."""
    executable = _parse(name, image, header)
    placed = place_modules(modules, executable.pieces)
    module_starts = [each.paddr for each in placed]
    pieces = [*executable.pieces, *placed]
    check_pieces(name, pieces, MOST_LOW_RAM)  # before addresses are put into fields of 32 bits

    gdt = flat_gdt(CODE_SELECTOR, DATA_SELECTOR)
    information_bytes = align_up(len(_information(0, ram.size, command_line, modules, module_starts)), 8)
    stack = first_fit(PAGE + information_bytes + len(gdt), pieces)
    information_base = stack + PAGE
    information = _information(information_base, ram.size, command_line, modules, module_starts)
    gdt_base = information_base + information_bytes
    pieces += [piece(information_base, information, "multiboot information"), piece(gdt_base, gdt, "GDT")]
    check_pieces(name, pieces, ram.size)
    store(ram, pieces)
    return flat_entry(
        "multiboot",
        executable.entry,
        code=CODE_SELECTOR,
        data=DATA_SELECTOR,
        gdt_base=gdt_base,
        gpr={"eax": ENTRY_MAGIC, "ebx": information_base, "esp": information_base},
        pieces=pieces,
    )
