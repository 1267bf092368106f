"""The symbol table of an ELF executable: names for places in a guest's code (TIS ELF specification 1.2).

Read only when somebody asks for a name. Whatever is damaged or missing means fewer names, never an error.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bt.arguments import closest
from bt.boot.loaders.elf import is_elf
from bt.errors import BadUsage


class _Format(NamedTuple):
    """The tables of a class."""

    file_header: struct.Struct  # program and section headers: offset each, then size and number each
    program_header: struct.Struct  # type, virtual and physical address, size in memory
    section_header: struct.Struct  # type, offset, size, link
    symbol: struct.Struct
    fields: tuple[int, ...]  # where a symbol has name, value, size, type and binding, section


_FORMATS = {
    1: _Format(
        struct.Struct("<28xII6xHHHHH"),
        struct.Struct("<I4xII4xI8x"),
        struct.Struct("<4xI8xIII12x"),
        struct.Struct("<IIIBxH"),
        (0, 1, 2, 3, 4),
    ),
    2: _Format(
        struct.Struct("<32xQQ6xHHHHH"),
        struct.Struct("<I12xQQ8xQ8x"),
        struct.Struct("<4xI16xQQI20x"),
        struct.Struct("<IBxHQQ"),
        (0, 3, 4, 1, 2),
    ),
}

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
    """`symbols["main"]` is an address, `symbols.name(address)` a name: those in the symbol table of an image.

    There is none if it is no ELF or has been stripped.
    """

    image: bytes

    def __getitem__(self, name: str) -> int:
        """Where a symbol is: its linear (virtual) address. BadUsage where there is none, with the nearest."""
        if name not in self._addresses:
            meant = closest(name, self._addresses)
            hint = f"did you mean {meant}?" if meant else f"there are {len(self._addresses)}"
            raise BadUsage(f"symbol {name!r}: the kernel has none; {hint}")
        return self._addresses[name]

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
    def _addresses(self) -> dict[str, int]:
        return {symbol.name: symbol.value for symbol in self._symbols}

    @cached_property
    def _format(self) -> _Format | None:
        """By the class; None for no ELF, or one of the other byte order."""
        return _FORMATS.get(self.image[4]) if is_elf(self.image) and self.image[5:6] == b"\1" else None

    @cached_property
    def _header(self) -> tuple[int, int, int, int, int, int]:
        """Offset, size and number of the program headers, then of the section headers; nothing of another format."""
        if self._format is None or len(self.image) < self._format.file_header.size:
            return 0, 0, 0, 0, 0, 0
        phoff, shoff, phentsize, phnum, shentsize, shnum, _ = self._format.file_header.unpack_from(self.image)
        return phoff, phentsize, phnum, shoff, shentsize, shnum

    @cached_property
    def _segments(self) -> list[tuple[int, int, int]]:
        """Virtual address, physical address and size of what is loaded."""
        if self._format is None:
            return []
        headers = self._table(self._format.program_header, *self._header[:3])
        return [(virtual, physical, memory) for kind, virtual, physical, memory in headers if kind == _PT_LOAD]

    @cached_property
    def _symbols(self) -> list[_Symbol]:
        """By address; of several at one place the last is the one to show: global before local, functions first."""
        if self._format is None:
            return []
        sections = list(self._table(self._format.section_header, *self._header[3:]))
        found, layout = [], self._format.symbol
        for kind, offset, size, link in sections:
            if kind != _SHT_SYMTAB or link >= len(sections):
                continue
            _, names, names_size, _ = sections[link]
            strings = self.image[names : names + names_size]
            for entry in self._table(layout, offset, layout.size, size // layout.size):
                name_at, value, length, info, section = (entry[place] for place in self._format.fields)
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
