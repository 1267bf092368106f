"""Names out of ELF symbol tables, damaged ones included."""

from __future__ import annotations

import struct
from random import Random

import pytest

from bt.symbols.elf_symbols import Symbols
from tests.boot.images import Segment, Symbol, elf, with_symbols

LOAD, HIGH = 0x10_0000, 0xC010_0000
CODE = bytes(0x1000)
IMAGE = with_symbols(
    elf([Segment(LOAD, CODE), Segment(LOAD + 0x10_0000, CODE, vaddr=HIGH)], LOAD),
    [
        Symbol("file.c", LOAD, kind=4, binding=0),
        Symbol("start", LOAD + 0x10),
        Symbol("local", LOAD + 0x100, 0x20, kind=2, binding=0),
        Symbol("global", LOAD + 0x100, 0x20, kind=2),
        Symbol("label", LOAD + 0x100),
        Symbol("inner", LOAD + 0x108, 4, kind=2),
        Symbol("number", LOAD + 0x200, section=0xFFF1),
        Symbol("elsewhere", LOAD + 0x300, section=0),
        Symbol("evil\x1b[2J", LOAD + 0x400),
        Symbol("high", HIGH + 8, 8, kind=2),
    ],
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (LOAD, None),
        (LOAD + 0x10, "start"),
        (LOAD + 0x1F, "start+0xf"),
        (LOAD + 0x100, "global"),
        (LOAD + 0x109, "inner+0x1"),
        (LOAD + 0x10C, "global+0xc"),
        (LOAD + 0x120, "label+0x20"),
        (LOAD + 0x210, "label+0x110"),
        (LOAD + 0x310, "label+0x210"),
        (LOAD + 0x410, "label+0x310"),
        (LOAD + 0x1000, None),
        (0, None),
        (HIGH + 7, None),
        (HIGH + 8, "high"),
        (HIGH + 0xF, "high+0x7"),
        (LOAD + 0x10_000A, "high+0x2"),
        (0xFFFF_FFFF, None),
    ],
)
def test_names_of_places(address: int, name: str | None) -> None:
    assert Symbols(IMAGE).name(address) == name


@pytest.mark.parametrize("image", [b"", b"\x7fELF", elf([Segment(LOAD, CODE)], LOAD), b"MZ" + bytes(1000)])
def test_images_without_names(image: bytes) -> None:
    assert Symbols(image).name(LOAD) is None


def test_other_classes_and_byte_orders_have_none() -> None:
    for ident in (b"\x7fELF\2\1", b"\x7fELF\1\2"):
        assert Symbols(ident + IMAGE[len(ident) :]).name(LOAD + 0x10) is None


def test_damage_is_never_an_error() -> None:
    random = Random(7)
    tables = IMAGE.index(b"\0file.c\0") - 16 * 11
    for _ in range(3000):
        image = bytearray(IMAGE[: random.choice([len(IMAGE), random.randrange(tables, len(IMAGE))])])
        for at in random.sample([*range(24, 140), *range(tables, len(image))], 3):
            image[at] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
        Symbols(bytes(image)).name(LOAD + 0x110)


def test_endless_tables_end_with_the_file() -> None:
    image = bytearray(IMAGE)
    struct.pack_into("<H", image, 48, 0xFFFF)  # sections
    assert Symbols(bytes(image)).name(LOAD + 0x10) == "start"
