"""Recorded vectors as the runner wants them: everything that can be computed beforehand is.

The files are those of SingleStepTests/80286 (MIT licence beside them): JSON lines, described in README.md.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from bt.x86 import flags
from bt.x86.opcodes import eflags_mask, lookup

FOLDER = Path(__file__).parent / "80286-real"
SUFFIX = ".jsonl.gz"

GENERAL = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")  # in the hardware's order
SEGMENTS = ("es", "cs", "ss", "ds")
DEFINED_IN_REAL_MODE = 0x0FD5  # bits 12-15 of FLAGS are clear on a 286 in real mode
FLAGS_IN_ERRORS = ("OF", "DF", "IF", "TF", "SF", "ZF", "AF", "PF", "CF")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes side by side that a vector names, before and after; `care` has a zero bit for each that may differ."""

    start: int  # physical addresses
    end: int
    before: bytes
    after: bytes
    care: bytes
    cleared: bytes  # as many zeros

    def difference(self, found: bytes) -> str | None:
        """What is not as recorded, found/recorded."""
        for at, (value, wanted, care) in enumerate(zip(found, self.after, self.care, strict=True), self.start):
            if (value ^ wanted) & care:
                return f"[{at:x}] {value:02x}/{wanted:02x}"
        return None


@dataclass(frozen=True, slots=True)
class Vector:
    """One test. Register values are 16-bit; `final` has all of them."""

    name: str
    code: bytes
    initial: Mapping[str, int]
    final: Mapping[str, int]
    pieces: tuple[Piece, ...]
    undefined_flags: int  # FLAGS bits that the instruction leaves undefined
    exception: int | None  # vector
    ignored: tuple[str, ...] = ()  # registers not compared

    def redirected(self, exception: int) -> Vector:
        """The same with another exception, whose handler is the one of the recorded exception."""
        assert self.exception is not None
        handler = bytes(self._initial_byte(4 * self.exception + at) for at in range(4))
        start = 4 * exception
        entry = Piece(start, start + 4, handler, handler, b"\xff" * 4, bytes(4))
        return replace(self, exception=exception, pieces=(*self.pieces, entry))

    def _initial_byte(self, address: int) -> int:
        return next(piece.before[address - piece.start] for piece in self.pieces if piece.start <= address < piece.end)

    def __str__(self) -> str:
        return f"{self.name} ({self.code.hex(' ')})"


def opcodes() -> list[str]:
    """The files there are, by opcode: "00", "80.0"..."""
    return sorted(path.name.removesuffix(SUFFIX) for path in FOLDER.glob(f"*{SUFFIX}"))


def undefined_flags(opcode: str) -> int:
    """FLAGS bits that the opcode table says are left undefined."""
    number, _, digit = opcode.partition(".")
    return eflags_mask(lookup(0, int(number, 16), int(digit or "0") << 3).undefines)


def load(opcode: str, limit: int | None = None) -> Iterator[Vector]:
    """The vectors of one file, at most `limit` of them."""
    undefined = undefined_flags(opcode)
    with gzip.open(FOLDER / f"{opcode}{SUFFIX}", "rt", encoding="ascii") as lines:
        for number, line in enumerate(lines):
            if number == limit:
                return
            yield _vector(json.loads(line), undefined)


def _vector(record: dict[str, Any], undefined: int) -> Vector:
    initial, final = record["initial"], record["final"]
    exception = record.get("exception")
    pushed_flags = exception["flag_address"] if exception else None
    return Vector(
        record["name"],
        bytes.fromhex(record["bytes"]),
        initial["regs"],
        initial["regs"] | final["regs"],
        tuple(_pieces(dict(initial["ram"]), dict(final["ram"]), pushed_flags, undefined)),
        undefined,
        exception["number"] if exception else None,
    )


def _pieces(
    before: dict[int, int], changes: dict[int, int], pushed_flags: int | None, undefined: int
) -> Iterator[Piece]:
    after = before | changes
    care = dict.fromkeys(after, 0xFF)
    if pushed_flags is not None:
        low, high = struct.pack("<H", undefined & 0xFFFF)
        care[pushed_flags] = 0xFF & ~low
        care[pushed_flags + 1] = 0xFF & ~high
    addresses = sorted(after)
    starts = [at for at in addresses if at - 1 not in after]
    for start, following in zip(starts, chain(starts[1:], (addresses[-1] + 1,)), strict=True):
        run = [at for at in addresses if start <= at < following]
        yield Piece(
            start,
            start + len(run),
            bytes(before.get(at, 0) for at in run),
            bytes(after[at] for at in run),
            bytes(care[at] for at in run),
            bytes(len(run)),
        )


def flag_names(mask: int) -> str:
    """FLAGS bits as a person names them."""
    return " ".join(name for name in FLAGS_IN_ERRORS if mask & getattr(flags, name))
