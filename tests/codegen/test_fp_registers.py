"""Guest x87, MMX and XMM registers live in the host's: no code of ours touches them but the functions made to."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest

from bt.codegen.host_fp import PIECES
from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.engine.structures import STENCIL
from tests.codegen.floating_point import floating_point

PLANTED = """
    0f1007 d9e8 0f6fc1 660f7ec0 c5f877 9b dfe0 0f77 0fae17 0fae1f 0fae07 480fae0f 0fc7642440 0fae27 0fae2f f20f5ac1
    660ff7c1 0fe703 c5fc28c1 62f17c4828c1 d82c24 f30f7e00 dbe2 0f2fc1 c5f892c8 f2480f2ac0
"""
_STENCIL_ENTRY = struct.Struct("<IH10x")


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


@pytest.mark.parametrize("code", PLANTED.split())
def test_the_search_finds_it(code: str) -> None:
    """Alone, and between instructions of another kind."""
    planted = bytes.fromhex(code)
    assert floating_point(planted)
    assert floating_point(b"\x48\x89\xc8" + planted + b"\xc3") == floating_point(planted)


def functions(library: Library) -> Iterator[tuple[str, bytes]]:
    """The library's image in pieces, from one known entry to the next: runtime, gates, handlers."""
    handlers = struct.iter_unpack("<Q", library.sections["handlers"])
    names = {address: f"handler {place}" for place, (address,) in enumerate(handlers)}
    names |= {address: name for name, address in library.symbols.items()}
    base, view = library.arena.exec_base, library.arena.view
    end = base + library.arena.used  # nothing has claimed room for a code cache yet
    for start, stop in pairwise([*sorted(names), end]):
        yield names[start], bytes(view[start - base : stop - base])


def stencils(library: Library) -> Iterator[tuple[str, bytes]]:
    """All stencils, their rarely executed parts included."""
    code = library.sections["stencil_code"]
    entries = _STENCIL_ENTRY.iter_unpack(library.sections["stencils"])
    for name, (start, length) in zip(library.lines("stencil_names"), entries, strict=True):
        yield name, bytes(code[start : start + length])


def test_only_the_functions_made_for_it_touch_fp_registers(library: Library) -> None:
    touching = {name: found for name, code in functions(library) if (found := floating_point(code))}
    assert touching.keys() == PIECES.keys()
    assert all(len(found) == 1 for found in touching.values())


def test_no_stencil_touches_fp_registers(library: Library) -> None:
    assert STENCIL.size == _STENCIL_ENTRY.size
    assert {name: found for name, code in stencils(library) if (found := floating_point(code))} == {}
