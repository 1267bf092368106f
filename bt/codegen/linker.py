"""Puts code that was read from object files into an arena."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from bt.codegen.arena import Arena
from bt.codegen.errors import CodegenError
from bt.codegen.objectfile import CodePiece, Relocation, RelocationKind

_THUNK = struct.Struct("<HiQ")
_JMP_RIP_RELATIVE = 0x25FF  # FF /4 with ModRM 25: jmp qword ptr [rip + disp32]
_FORMATS = {8: struct.Struct("<Q"), 4: struct.Struct("<I"), 1: struct.Struct("<B")}  # by width of the hole
# An 8-bit hole may be either signed or unsigned: the instruction decides, as in every linker.
_RANGES = {
    RelocationKind.ABS64: (-(1 << 63), (1 << 64) - 1),
    RelocationKind.PC32: (-(1 << 31), (1 << 31) - 1),
    RelocationKind.ABS32: (0, (1 << 32) - 1),
    RelocationKind.ABS32S: (-(1 << 31), (1 << 31) - 1),
    RelocationKind.ABS8: (-(1 << 7), (1 << 8) - 1),
}


def link(arena: Arena, pieces: Mapping[str, CodePiece], externals: Mapping[str, int]) -> dict[str, int]:
    """Copy `pieces` into the arena, resolve their relocations; return the address to run or read each symbol at.

    `externals` gives addresses, or values of holes, for what the pieces themselves do not define.  A call or jump to
    one beyond the reach of rel32 goes through a thunk, which changes no register and no flag.

    Raises CodegenError naming every undefined symbol, or the symbol whose value does not fit its hole; ArenaFull.
    The arena is then as it was.
    """
    return _Linker(arena, pieces, externals).run()


class _Linker:
    def __init__(self, arena: Arena, pieces: Mapping[str, CodePiece], externals: Mapping[str, int]) -> None:
        self._arena = arena
        self._pieces = pieces
        self._align = max((piece.align for piece in pieces.values()), default=1)
        self._offset = arena.next_offset(self._align)
        self._base = arena.exec_base + self._offset
        self._image = bytearray()
        self._symbols: dict[str, int] = {}
        self._externals = externals
        self._thunks: dict[int, int] = {}  # far address -> address of its thunk

    def run(self) -> dict[str, int]:
        positions = self._place()
        values = {**self._externals, **self._symbols}
        if twice := self._externals.keys() & self._symbols.keys():
            raise CodegenError(f"arena {self._arena.name}: both linked and external: {_listed(twice)}")
        try:
            for (name, piece), position in zip(self._pieces.items(), positions, strict=True):
                for hole in piece.relocations:
                    self._fill(name, position, hole, values[hole.symbol])
        except KeyError:
            wanted = {hole.symbol for piece in self._pieces.values() for hole in piece.relocations}
            missing = _listed(wanted - values.keys())
            raise CodegenError(f"arena {self._arena.name}: undefined symbols: {missing}") from None
        # one write for all: 2,000 functions would take 2,000 slice assignments through a memoryview
        offset = self._arena.allocate(len(self._image), self._align)
        assert offset == self._offset
        self._arena.write(offset, self._image)
        return self._symbols

    def _place(self) -> list[int]:
        image, symbols, base = self._image, self._symbols, self._base
        positions = []
        for name, piece in self._pieces.items():
            position = (len(image) + piece.align - 1) & -piece.align
            image += b"\xcc" * (position - len(image))  # INT3: nobody is meant to arrive here
            image += piece.code
            positions.append(position)
            symbols[name] = base + position
            for alias, offset in piece.names:
                symbols[alias] = base + position + offset
        return positions

    def _fill(self, piece: str, position: int, hole: Relocation, value: int) -> None:
        offset, kind, symbol, addend = hole
        offset += position
        value += addend
        low, high = _RANGES[kind]
        if kind is RelocationKind.PC32:
            here = self._base + offset
            value -= here
            if not low <= value <= high and addend == -4 and _is_branch(self._image, position, offset):
                value = self._thunk(value + here - addend) + addend - here
        if not low <= value <= high:
            raise CodegenError(
                f"arena {self._arena.name}: {symbol} in {piece}+{hole.offset:#x}: {value:#x} does not fit {kind.name}"
            )
        width = kind.width
        _FORMATS[width].pack_into(self._image, offset, value & (1 << 8 * width) - 1)

    def _thunk(self, address: int) -> int:
        if address not in self._thunks:
            self._thunks[address] = self._base + len(self._image)
            self._image += _THUNK.pack(_JMP_RIP_RELATIVE, 0, address)
        return self._thunks[address]


def _is_branch(code: bytearray, start: int, offset: int) -> bool:
    """Whether the rel32 at `offset` belongs to CALL, JMP or Jcc (E8, E9, 0F 80-8F), not to a memory operand.

    A RIP-relative operand's ModRM byte (mod 00, r/m 101) is none of these values.
    """
    if offset - start >= 1 and code[offset - 1] in (0xE8, 0xE9):
        return True
    return offset - start >= 2 and code[offset - 2] == 0x0F and code[offset - 1] & 0xF0 == 0x80


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
