"""The physical memory map by itself: what it says is where, and what native code finds."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator

import pytest

from bt.errors import BtError
from bt.memory.map import MapConflict, PhysicalMap, Range, Use
from bt.memory.map_layout import (
    CHUNK_BYTES,
    CHUNK_PAGES,
    CHUNK_SHIFT,
    CHUNK_TABLE,
    DEVICE_HOLE,
    HIGH_RAM,
    PAGE_MEMORY,
    PAGE_OVER_RAM,
    PAGE_WRITABLE,
)
from bt.memory.ram import GuestRam, OutsideRam
from bt.x86.page import PAGE

MIB, GIB = 1 << 20, 1 << 30
ROM_AT, WINDOW_AT = 0xF_0000, 0xE000_0000


def _u64(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def native(memory: PhysicalMap, physical: int) -> tuple[int, int]:
    """(host address of the page or 0, flags) as bt/memory/physical.py finds them."""
    entry = _u64(memory.address + 8 * (physical >> CHUNK_SHIFT))
    if entry & CHUNK_TABLE:
        entry = _u64(entry - CHUNK_TABLE + 8 * (physical // PAGE % CHUNK_PAGES))
    if not entry:
        return 0, 0
    return ((entry & -PAGE) + (physical & -PAGE)) % (1 << 64), entry & PAGE - 1


def expected(memory: PhysicalMap, physical: int) -> tuple[int, int]:
    found = memory.at(physical)
    if found is None:
        return 0, 0
    flags = PAGE_MEMORY | {Use.ROM: 0, Use.ROM_OVER_RAM: PAGE_OVER_RAM}.get(found.use, PAGE_WRITABLE)
    return found.memory.address + found.offset + (physical - found.start & -PAGE), flags


@pytest.fixture
def ram() -> Iterator[GuestRam]:
    with GuestRam(16 * MIB) as made:
        yield made


@pytest.fixture
def rom() -> Iterator[GuestRam]:
    with GuestRam(64 << 10) as made:
        made.write(0, bytes(range(256)) * 256)
        yield made


def shown(memory: PhysicalMap) -> list[str]:
    return [str(each) for each in memory]


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (3 * GIB, ["RAM at 0x0..0xbfffffff"]),
        (DEVICE_HOLE, ["RAM at 0x0..0xdfffffff"]),
        (5 * GIB, ["RAM at 0x0..0xdfffffff", "RAM at 0x100000000..0x15fffffff"]),
    ],
)
def test_ram_lies_around_the_hole(size: int, pieces: list[str]) -> None:
    with GuestRam(size) as ram:
        memory = PhysicalMap(ram)
        assert shown(memory) == pieces
        for physical in (0, CHUNK_BYTES - 1, size // 2, DEVICE_HOLE - 1, DEVICE_HOLE, HIGH_RAM, HIGH_RAM + GIB):
            assert native(memory, physical) == expected(memory, physical)


def test_what_is_in_the_way(ram: GuestRam, rom: GuestRam) -> None:
    memory = PhysicalMap(ram)
    with pytest.raises(MapConflict, match=r"ROM at 0xf0000\.\.0xfffff overlaps RAM at 0x0\.\.0xffffff"):
        memory.add_rom(ROM_AT, rom)
    memory.remap(ROM_AT, rom.size, Use.ROM, rom)
    assert shown(memory) == ["RAM at 0x0..0xeffff", "ROM at 0xf0000..0xfffff", "RAM at 0x100000..0xffffff"]
    memory.remove(0xA_0000, 0x2_0000)
    memory.remap(ROM_AT, rom.size, Use.RAM, ram, ROM_AT)
    assert shown(memory) == [
        "RAM at 0x0..0x9ffff",
        "RAM at 0xc0000..0xeffff",
        "RAM at 0xf0000..0xfffff",
        "RAM at 0x100000..0xffffff",
    ]
    assert native(memory, 0xA_0000) == (0, 0)
    assert memory.read(ROM_AT, 4) == bytes(4)


def test_contents_go_across_pieces(ram: GuestRam, rom: GuestRam) -> None:
    memory = PhysicalMap(ram)
    memory.remap(ROM_AT, rom.size, Use.ROM, rom)
    memory.write(ROM_AT - 2, b"abcd")
    assert memory.read(ROM_AT - 3, 6) == b"\0abcd\2"
    assert (ram.read(ROM_AT - 2, 4), rom.read(0, 2)) == (b"ab\0\0", b"cd")
    memory.remove(0xA_0000, 0x1_0000)
    for access in (lambda: memory.read(0x9_FFFF, 2), lambda: memory.write(0x9_FFFF, b"xy")):
        with pytest.raises(OutsideRam, match="no memory at 0xa0000: only devices are there"):
            access()
    assert ram.read(0x9_FFFF, 1) == b"\0"


@pytest.mark.parametrize(
    ("start", "length"), [(1, 4096), (0x1000, 100), (-4096, 4096), (1 << 36, 4096), ((1 << 36) - 4096, 8192), (0, 0)]
)
def test_only_whole_pages_of_the_address_space(ram: GuestRam, start: int, length: int) -> None:
    with pytest.raises(BtError, match="whole pages of 4 KiB below 0x1000000000 are wanted"):
        PhysicalMap(ram).remove(start, length)


def test_a_piece_lies_in_its_memory(ram: GuestRam, rom: GuestRam) -> None:
    for length, offset in ((rom.size + 4096, 0), (4096, rom.size), (4096, -4096), (4096, 10)):
        with pytest.raises(MapConflict, match="its memory has less, or that is no page"):
            PhysicalMap(ram).remap(ROM_AT, length, Use.ROM, rom, offset)


def test_ram_has_one_address(ram: GuestRam, rom: GuestRam) -> None:
    """Code is known by its physical address: a store at another one would not be seen."""
    memory = PhysicalMap(ram)
    memory.remap(ROM_AT, rom.size, Use.ROM, rom)
    memory.add_rom(WINDOW_AT, rom)
    for use in (Use.RAM, Use.WINDOW, Use.ROM):
        with pytest.raises(MapConflict, match="its memory is there as"):
            memory.remap(ROM_AT, PAGE, use, ram, 0)
    with pytest.raises(MapConflict, match="there is no RAM behind it"):
        memory.remap(WINDOW_AT, rom.size, Use.ROM_OVER_RAM, rom)


def test_stores_to_ram_behind_rom_are_in_its_dirty_log(ram: GuestRam, rom: GuestRam) -> None:
    memory = PhysicalMap(ram)
    memory.take_dirty(ram)
    memory.remap(ROM_AT, rom.size, Use.ROM_OVER_RAM, rom)
    assert memory.take_dirty(ram) == list(range(ROM_AT, ROM_AT + rom.size, PAGE))  # whether or not there were any
    memory.remap(ROM_AT, rom.size, Use.ROM, rom)
    memory.take_dirty(ram)
    assert memory.take_dirty(ram) == []


def test_moving(ram: GuestRam, rom: GuestRam) -> None:
    memory = PhysicalMap(ram)
    memory.add_window(WINDOW_AT, rom)
    memory.move(WINDOW_AT, WINDOW_AT + 0x8000)  # over itself
    assert shown(memory)[1:] == ["window at 0xe0008000..0xe0017fff"]
    assert native(memory, WINDOW_AT) == (0, 0)
    assert native(memory, WINDOW_AT + 0x9000) == (rom.address + 0x1000, PAGE_MEMORY | PAGE_WRITABLE)
    with pytest.raises(MapConflict, match="overlaps RAM"):
        memory.move(WINDOW_AT + 0x8000, 0)
    with pytest.raises(MapConflict, match="nothing begins at 0xe0000000"):
        memory.move(WINDOW_AT, WINDOW_AT)


def _is_elsewhere(
    pages: dict[int, tuple[Use, GuestRam, int]], start: int, count: int, use: Use, source: GuestRam, offset: int
) -> bool:
    """Whether a page of the source would be at two addresses, as RAM at one."""
    return any(
        memory is source and offset * PAGE <= at < (offset + count) * PAGE and Use.RAM in (use, other)
        for page, (other, memory, at) in pages.items()
        if not start <= page < start + count
    )


def test_any_changes_leave_what_a_simple_model_says(ram: GuestRam, rom: GuestRam) -> None:
    """Hundreds of changes at random, against a dictionary of pages; tables are given back."""
    choose = random.Random(8)
    memory = PhysicalMap(ram)
    pages: dict[int, tuple[Use, GuestRam, int]] = {
        page: (Use.RAM, ram, page * PAGE) for page in range(ram.size // PAGE)
    }
    span = 3 * ram.size // 2 // PAGE
    for _ in range(300):
        start = choose.randrange(span)
        uses = ((Use.RAM, ram), (Use.ROM, rom), (Use.ROM_OVER_RAM, rom), (Use.WINDOW, rom), (None, ram))
        use, source = choose.choice(uses)
        count = choose.randrange(1, 1 + min(source.size // PAGE, choose.choice((4, 512, 1500))))
        offset = choose.randrange(0, source.size // PAGE - count + 1)
        if use is None:
            memory.remove(start * PAGE, count * PAGE)
            for page in range(start, start + count):
                pages.pop(page, None)
        else:
            behind = use is Use.ROM_OVER_RAM and (start + count) * PAGE > ram.size
            if behind or _is_elsewhere(pages, start, count, use, source, offset):
                before = list(memory)
                with pytest.raises(MapConflict, match="no RAM behind" if behind else "its memory is there as"):
                    memory.remap(start * PAGE, count * PAGE, use, source, offset * PAGE)
                assert list(memory) == before
                continue
            memory.remap(start * PAGE, count * PAGE, use, source, offset * PAGE)
            for number in range(count):
                pages[start + number] = (use, source, (offset + number) * PAGE)
    for page in range(span + 1600):
        physical = page * PAGE
        found = memory.at(physical)
        now = None if found is None else (found.use, found.memory, found.offset + physical - found.start)
        assert now == pages.get(page), hex(physical)
        assert native(memory, physical) == expected(memory, physical), hex(physical)
    memory.remove(0, 64 * MIB)
    assert not memory._tables
    assert list(memory) == []


def test_writes_from_outside_are_dirty(ram: GuestRam, rom: GuestRam) -> None:
    class Nobody:
        def written(self, physical: int, size: int) -> None: ...
        def remapped(self, physical: int, size: int) -> None: ...
        def protect(self, physical: int, size: int) -> None: ...

    memory, processor = PhysicalMap(ram), Nobody()
    memory.watch(processor)
    memory.add_window(WINDOW_AT, rom)
    assert len(memory.take_dirty(ram)) == ram.size // PAGE
    ram.write(0x1FFF, b"ab")
    rom.write(0x3000, b"x")
    assert memory.take_dirty(ram) == [0x1000, 0x2000]
    memory.move(WINDOW_AT, WINDOW_AT + MIB)  # what was written before is still known
    rom.write(0x5000, b"x")
    assert memory.take_dirty(rom) == [0x3000, 0x5000]
    assert memory.take_dirty(rom) == memory.take_dirty(ram) == []
    memory.forget(processor)


def test_a_range_shows_what_it_is(ram: GuestRam) -> None:
    assert str(Range(0x1000, 0x2000, Use.WINDOW, ram, 0)) == "window at 0x1000..0x2fff"
