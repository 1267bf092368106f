"""The symbol table of an ELF32 executable: names for places in a guest's code (TIS ELF specification 1.2).

Read only when somebody asks for a name. Whatever is damaged or missing means fewer names, never an error.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bt.boot.loaders.elf import is_elf

_FILE_HEADER = struct.Struct("<28xII6xHHHHH")  # program and section headers: offset each, then size and number each
_PROGRAM_HEADER = struct.Struct("<I4xII4xI8x")  # type, virtual and physical address, size in memory
_SECTION_HEADER = struct.Struct("<4xI8xIII12x")  # type, offset, size, link
_SYMBOL = struct.Struct("<IIIBxH")  # name, value, size, type and binding, section

_PT_LOAD = 1
_SHT_SYMTAB = 2
_UNDEFINED, _FIRST_RESERVED = 0, 0xFF00  # sections; absolute symbols, which are reserved, are numbers and no places
_PLACES = (0, 1, 2)  # types: none (labels of assemblers), objects, functions


@dataclass(frozen=True)
class _Symbol:
    value: int  # virtual address
    size: int  # bytes; 0 where nobody knows
    name: str


@dataclass(frozen=True)
class Symbols:
    """Names for addresses of an image; none if it is no ELF32 or has been stripped."""

    image: bytes

    def name(self, address: int) -> str | None:
        """The symbol that a linear address belongs to, "kmain+0x10"; None outside of the image and before any symbol.

        An address that is in no segment may be a physical one: a kernel that is linked high starts without paging.
        """
        for start, at in self._virtual(address):
            symbols = self._symbols
            for symbol in reversed(symbols[: bisect_right(symbols, at, key=lambda symbol: symbol.value)]):
                if symbol.value < start:  # of another segment
                    break
                if at - symbol.value < symbol.size or not symbol.size:
                    offset = at - symbol.value
                    return f"{symbol.name}+{offset:#x}" if offset else symbol.name
        return None

    def _virtual(self, address: int) -> Iterator[tuple[int, int]]:
        """What virtual addresses it may be, each with the beginning of its segment."""
        for start, _, size in self._segments:
            if start <= address < start + size:
                yield start, address
        for start, physical, size in self._segments:
            if physical <= address < physical + size and start != physical:
                yield start, address - physical + start

    @cached_property
    def _header(self) -> tuple[int, int, int, int, int, int]:
        """Offset, size and number of the program headers, then of the section headers; nothing of another format."""
        if not is_elf(self.image) or self.image[4:6] != b"\1\1" or len(self.image) < 52:
            return 0, 0, 0, 0, 0, 0
        phoff, shoff, phentsize, phnum, shentsize, shnum, _ = _FILE_HEADER.unpack_from(self.image)
        return phoff, phentsize, phnum, shoff, shentsize, shnum

    @cached_property
    def _segments(self) -> list[tuple[int, int, int]]:
        """Virtual address, physical address and size of what is loaded."""
        at, size, number = self._header[:3]
        headers = self._table(_PROGRAM_HEADER, at, size, number)
        return [(virtual, physical, memory) for kind, virtual, physical, memory in headers if kind == _PT_LOAD]

    @cached_property
    def _symbols(self) -> list[_Symbol]:
        """By address; of several at one place the last is the one to show: global before local, functions first."""
        sections = list(self._table(_SECTION_HEADER, *self._header[3:]))
        found = []
        for kind, offset, size, link in sections:
            if kind != _SHT_SYMTAB or link >= len(sections):
                continue
            _, names, names_size, _ = sections[link]
            strings = self.image[names : names + names_size]
            for name_at, value, length, info, section in self._table(
                _SYMBOL, offset, _SYMBOL.size, size // _SYMBOL.size
            ):
                name = strings[name_at : strings.find(b"\0", name_at)].decode(errors="replace")
                # it goes to a terminal
                if name and name.isprintable() and info & 0xF in _PLACES and _UNDEFINED < section < _FIRST_RESERVED:
                    found.append((value, info & 0xF, info >> 4, _Symbol(value, length, name)))
        return [symbol for *_, symbol in sorted(found, key=lambda each: each[:3])]

    def _table(self, entry: struct.Struct, at: int, size: int, number: int) -> Iterator[tuple[int, ...]]:
        """The entries of a table that lie in the file."""
        if size != entry.size:
            return
        for place in range(at, at + size * number, size):
            if place + size > len(self.image):
                return
            yield entry.unpack_from(self.image, place)
