"""Reader for ELF64 x86-64 relocatable objects: machine code by function, its relocations, and read-only data.

Only what LLVM emits for `pic` and the small code model is understood; everything else is refused by name.
Source: System V ABI, chapters 4 and 5 (gABI), and its AMD64 supplement, section 4.4 (relocation types).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

from bt.codegen.errors import CodegenError

_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")

_IDENT = b"\x7fELF\x02\x01\x01"  # 64-bit, little endian, version 1
_ET_REL, _EM_X86_64 = 1, 62
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_RELA, _SHT_NOBITS = 1, 2, 4, 8
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHN_UNDEF, _SHN_LORESERVE = 0, 0xFF00
_STB_LOCAL, _STT_FUNC, _STT_SECTION = 0, 2, 3
_GOT_RELOCATIONS = {3: "GOT32", 9: "GOTPCREL", 41: "GOTPCRELX", 42: "REX_GOTPCRELX"}
_MAX_ALIGN = 4096


class RelocationKind(Enum):
    """How a relocation's value S+A (or S+A-P) is stored; the numbers are the AMD64 ABI's."""

    ABS64 = 1
    PC32 = 2
    ABS32 = 10  # zero-extended by the instruction
    ABS32S = 11  # sign-extended by the instruction
    ABS8 = 14

    @property
    def width(self) -> int:
        """Bytes patched."""
        return _WIDTHS[self]


_WIDTHS = {
    RelocationKind.ABS64: 8,
    RelocationKind.PC32: 4,
    RelocationKind.ABS32: 4,
    RelocationKind.ABS32S: 4,
    RelocationKind.ABS8: 1,
}
_R_X86_64_PLT32 = 4
_KINDS = {kind.value: kind for kind in RelocationKind} | {_R_X86_64_PLT32: RelocationKind.PC32}


class Relocation(NamedTuple):
    """One hole: at byte `offset` of the piece goes `symbol` + `addend`, less the hole's own address for PC32."""

    offset: int
    kind: RelocationKind
    symbol: str
    addend: int


class CodePiece(NamedTuple):
    """Bytes that move as a whole: a function, or a section of read-only data.

    `align` is in bytes, a power of two.  `names` are further symbols inside the piece with their byte offsets.
    """

    code: bytes
    relocations: tuple[Relocation, ...]
    align: int
    names: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class ObjectCode:
    """The contents of one object file.  Names of data pieces are unique over all objects."""

    functions: dict[str, CodePiece]
    data: dict[str, CodePiece] = field(default_factory=dict)


def merge(objects: Iterable[ObjectCode]) -> dict[str, CodePiece]:
    """All pieces of several objects, to be linked together; CodegenError where two define the same function."""
    pieces: dict[str, CodePiece] = {}
    for one in objects:
        if twice := pieces.keys() & one.functions.keys():
            raise CodegenError(f"defined in two modules: {', '.join(sorted(twice))}; give one of each another name")
        pieces.update(one.functions)
        pieces.update(one.data)
    return pieces


def read_object(data: bytes) -> ObjectCode:
    """Take an ELF64 x86-64 relocatable object apart.

    Functions become pieces under their own names, each read-only data section one under a name made unique by a digest
    of the object.  Debug and unwind sections are left out.

    Raises CodegenError for damaged files, and for what has no place in an arena: writable data, GOT references, TLS.
    """
    return _Reader(data).read()


class _Section(NamedTuple):
    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int


class _Symbol(NamedTuple):
    name: str
    type: int
    binding: int
    section: int
    value: int
    size: int


class _Part:
    """A piece in the making: bytes [start, end) of its section."""

    __slots__ = ("align", "end", "name", "names", "relocations", "start")

    def __init__(self, name: str, start: int, end: int, align: int) -> None:
        self.name = name
        self.start = start
        self.end = end
        self.align = align
        self.names: list[tuple[str, int]] = []
        self.relocations: list[Relocation] = []


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._sections: list[_Section] = []
        self._section_names = b""
        self._symbols: list[_Symbol] = []
        self._parts: dict[int, list[_Part]] = {}  # by section number, ascending by start
        self._targets: dict[int, tuple[str, int]] = {}  # symbol number -> (symbol to name, addend to add)

    def read(self) -> ObjectCode:
        self._read_sections()
        self._read_symbols()
        self._lay_out()
        for number, section in enumerate(self._sections):
            if section.type == _SHT_RELA and section.info in self._parts:
                self._read_relocations(number, section)
        pieces: tuple[dict[str, CodePiece], dict[str, CodePiece]] = ({}, {})
        for number, parts in self._parts.items():
            section = self._sections[number]
            content = self._content(number)
            by_name = pieces[0 if section.flags & _SHF_EXECINSTR else 1]
            for part in parts:
                if not part.name or part.name in by_name:
                    raise _damaged(f"no name, or one twice: '{part.name}'")
                code = content[part.start : part.end]
                by_name[part.name] = CodePiece(code, tuple(part.relocations), part.align, tuple(part.names))
        return ObjectCode(*pieces)

    # -- tables

    def _read_sections(self) -> None:
        header = self._slice(0, _ELF_HEADER.size, "ELF header")
        ident, kind, machine, _, _, _, offset, _, _, _, _, entry_size, count, names = _ELF_HEADER.unpack(header)
        if not ident.startswith(_IDENT) or kind != _ET_REL or machine != _EM_X86_64:
            raise CodegenError("not an ELF64 x86-64 relocatable object: compile for x86_64-unknown-linux-gnu")
        if count == 0 and offset:  # the count did not fit in 16 bits
            raise CodegenError(f"object has {_SHN_LORESERVE} sections or more: put fewer functions into one module")
        if entry_size != _SECTION.size or names >= count:
            raise _damaged("section header table")
        table = self._slice(offset, count * entry_size, "section header table")
        self._sections = [_Section._make(fields) for fields in _SECTION.iter_unpack(table)]
        self._section_names = self._content(names)

    def _read_symbols(self) -> None:
        tables = [number for number, section in enumerate(self._sections) if section.type == _SHT_SYMTAB]
        if len(tables) != 1:
            raise _damaged(f"{len(tables)} symbol tables")
        section = self._sections[tables[0]]
        if section.link >= len(self._sections) or section.size % _SYMBOL.size:
            raise _damaged("symbol table")
        strings = self._content(section.link)
        for name, info, _, home, value, size in _SYMBOL.iter_unpack(self._content(tables[0])):
            self._symbols.append(_Symbol(_string(strings, name), info & 15, info >> 4, home, value, size))

    def _content(self, number: int) -> bytes:
        section = self._sections[number]
        if section.type == _SHT_NOBITS:
            return b""
        return self._slice(section.offset, section.size, "contents of a section")

    def _slice(self, offset: int, size: int, what: str) -> bytes:
        if offset + size > len(self._data):
            raise _damaged(f"{what} beyond the end of the file")
        return self._data[offset : offset + size]

    def _name_of(self, section: _Section) -> str:
        return _string(self._section_names, section.name)

    # -- pieces

    def _lay_out(self) -> None:
        """Cut the sections into parts, and give every symbol in them its part."""
        members: dict[int, list[_Symbol]] = {}
        for symbol in self._symbols:
            if symbol.section != _SHN_UNDEF and symbol.section < len(self._sections):
                members.setdefault(symbol.section, []).append(symbol)
        digest = ""
        for number, section in enumerate(self._sections):
            name = self._name_of(section)
            if not section.flags & _SHF_ALLOC or not section.size or name == ".eh_frame":
                continue
            if section.flags & _SHF_WRITE and not name.startswith(".data.rel.ro"):
                raise CodegenError(
                    f"object has writable data in {name}: the arena holds code and constants only, "
                    "make the global a `constant` or keep it in the CPU state"
                )
            if section.type != _SHT_PROGBITS:
                raise CodegenError(f"object has section {name} of type {section.type:#x}, which cannot be linked")
            if section.align & (section.align - 1) or section.align > _MAX_ALIGN:
                raise _damaged(f"alignment {section.align} of {name}")
            symbols = members.get(number, [])
            if section.flags & _SHF_EXECINSTR:
                parts = _functions(name, section, symbols)
            else:
                digest = digest or blake2b(self._data, digest_size=8).hexdigest()
                parts = [_Part(f"{name}#{number}@{digest}", 0, section.size, max(section.align, 1))]
            self._parts[number] = parts
            _give_names(parts, symbols)

    # -- relocations

    def _read_relocations(self, number: int, table: _Section) -> None:
        if table.size % _RELOCATION.size or table.entry_size != _RELOCATION.size:
            raise _damaged("relocation table")
        parts = self._parts[table.info]
        starts = [part.start for part in parts]
        is_code = bool(self._sections[table.info].flags & _SHF_EXECINSTR)
        for offset, info, addend in _RELOCATION.iter_unpack(self._content(number)):
            kind = _KINDS.get(info & 0xFFFF_FFFF)
            if kind is None:
                raise self._unknown_kind(info)
            part = parts[max(bisect_right(starts, offset) - 1, 0)]
            if not part.start <= offset <= part.end - kind.width:
                raise _damaged(f"relocation at {offset:#x} outside of any function")
            target = self._targets.get(info >> 32)
            if target is None:
                target = self._target(info >> 32, kind, addend, is_code)
            part.relocations.append(Relocation(offset - part.start, kind, target[0], target[1] + addend))

    def _unknown_kind(self, info: int) -> CodegenError:
        number, symbol = info & 0xFFFF_FFFF, info >> 32
        name = self._symbols[symbol].name if symbol < len(self._symbols) else f"symbol {symbol}"
        if number in _GOT_RELOCATIONS:
            return CodegenError(
                f"{name} is reached through a global offset table ({_GOT_RELOCATIONS[number]}), which the arena has "
                f"not: make it `hidden` where it is declared or defined (`external hidden global`, `declare hidden`)"
            )
        return CodegenError(
            f"relocation type {number} against {name} is not supported: compile with reloc=pic and codemodel=small"
        )

    def _target(self, number: int, kind: RelocationKind, addend: int, from_code: bool) -> tuple[str, int]:
        """What a relocation against symbol `number` refers to; kept where the addend does not matter."""
        if number >= len(self._symbols):
            raise _damaged(f"relocation against symbol {number} of {len(self._symbols)}")
        symbol = self._symbols[number]
        if symbol.section == _SHN_UNDEF:
            if not symbol.name:
                raise _damaged("relocation without a symbol")
            self._targets[number] = (symbol.name, 0)
            return symbol.name, 0
        parts = self._parts.get(symbol.section)
        if parts is None:
            raise CodegenError(f"{symbol.name or 'a section'} is referred to but is neither code nor constant data")
        if len(parts) == 1:
            part = parts[0]
        elif symbol.type == _STT_FUNC:
            part = _part_at(parts, symbol.value)
        elif kind is RelocationKind.PC32 and not from_code:
            # entries of a jump table count from the table's start: nothing here tells which function they mean
            raise CodegenError(
                'a jump table refers into a section shared by several functions: set "no-jump-tables"="true" '
                "or give every function its own section"
            )
        else:
            # a rel32 counts from the instruction's end, usually that of the hole
            address = symbol.value + addend + (4 if kind is RelocationKind.PC32 else 0)
            part = _part_at(parts, address)
            return part.name, symbol.value - part.start
        self._targets[number] = (part.name, symbol.value - part.start)
        return self._targets[number]


def _functions(name: str, section: _Section, symbols: list[_Symbol]) -> list[_Part]:
    """The functions of a code section; one alone owns all of it, so that nothing depends on where it ends."""
    functions = sorted({s.value: s for s in reversed(symbols) if s.type == _STT_FUNC}.values(), key=lambda s: s.value)
    align = max(section.align, 1)
    if not functions:
        raise CodegenError(
            f"code section {name} has no function symbol: module-level assembly needs `.type f,@function`"
        )
    if len(functions) == 1 and functions[0].value == 0:
        return [_Part(functions[0].name, 0, section.size, align)]
    parts = []
    end = 0
    for symbol in functions:
        if symbol.binding == _STB_LOCAL:
            raise CodegenError(
                f"{symbol.name} is internal and shares section {name}: its calls are bound already and would break "
                "when the functions are moved apart; give every function its own section"
            )
        if symbol.value < end or symbol.value + symbol.size > section.size:
            raise _damaged(f"{symbol.name} overlaps its neighbour or the end of {name}")
        end = symbol.value + symbol.size
        # all that is known of a function inside a section is how it happens to lie
        parts.append(_Part(symbol.name, symbol.value, end, min(align, symbol.value & -symbol.value or align)))
    return parts


def _give_names(parts: list[_Part], symbols: list[_Symbol]) -> None:
    """Aliases of functions and names of constants, where other modules can see them."""
    for symbol in symbols:
        if symbol.binding != _STB_LOCAL and symbol.name:
            part = _part_at(parts, symbol.value)
            if symbol.name != part.name:
                part.names.append((symbol.name, symbol.value - part.start))


def _part_at(parts: list[_Part], address: int) -> _Part:
    part = parts[max(bisect_right(parts, address, key=lambda part: part.start) - 1, 0)]
    if part.start <= address <= part.end:
        return part
    raise _damaged(f"address {address:#x} is outside of any function")


def _string(table: bytes, offset: int) -> str:
    end = table.find(0, offset)
    if offset > len(table) or end < 0:
        raise _damaged("string table")
    return table[offset:end].decode(errors="backslashreplace")


def _damaged(what: str) -> CodegenError:
    return CodegenError(f"object file is damaged: {what}; compile it again")
