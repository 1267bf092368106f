"""The physical memory map: what a guest finds at which physical address.

    memory = PhysicalMap(ram)                                 # RAM below 3.5 GiB, the rest of it from 4 GiB up
    memory.remap(0xF0000, 0x10000, Use.ROM, bios)          # ROM in front of RAM
    memory.remap(0xF0000, 0x10000, Use.RAM, ram, 0xF0000)  # the RAM behind it again
    memory.add_window(0xE000_0000, vram)                   # looks like RAM: take_dirty(vram) says what changed
    memory.move(0xE000_0000, 0xE800_0000)
    memory.remove(0xA0000, 0x20000)                        # a hole, where devices of the bus answer

Where the map has nothing the accesses go to the bus (bt/memory/bus.py): to device windows, and where there is none they
read all ones and write nothing. Changes take effect from the guest's next instruction on; code that was decoded from
the addresses is forgotten.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple, Protocol

from bt import arguments
from bt.errors import BtError
from bt.host.area import Area
from bt.memory.dirty_log import Marks, runs
from bt.memory.map_layout import (
    ADDRESS_BITS,
    CHUNK_BYTES,
    CHUNK_PAGES,
    CHUNK_TABLE,
    CHUNKS,
    PAGE_MEMORY,
    PAGE_OVER_RAM,
    PAGE_WRITABLE,
    PAGES,
    low_ram,
    ram_ranges,
)
from bt.memory.ram import GuestRam, OutsideRam
from bt.x86.page import PAGE
from bt.x86.state import PAGE_DIRTY

_CHUNK_MAP_BYTES, _TABLE_BYTES, _TABLES = 8 * CHUNKS, 8 * CHUNK_PAGES, 1024
_SPACE = 1 << ADDRESS_BITS


class MapConflict(BtError):
    """Two things want the same physical addresses, or one wants addresses that there are not."""


class Use(Enum):
    """How memory appears in the map; RAM and windows differ in whose they are, not in how they behave."""

    RAM = "RAM"
    ROM = "ROM"  # stores vanish
    ROM_OVER_RAM = "ROM over RAM"  # stores go to the machine's RAM of the same address
    WINDOW = "window"  # a device's memory


_FLAGS = {
    Use.RAM: PAGE_MEMORY | PAGE_WRITABLE,
    Use.ROM: PAGE_MEMORY,
    Use.ROM_OVER_RAM: PAGE_MEMORY | PAGE_OVER_RAM,
    Use.WINDOW: PAGE_MEMORY | PAGE_WRITABLE,
}
Layout = tuple[tuple[int, int, Use, int, int], ...]
"""Of each range start, length, use, number of its memory in `PhysicalMap.memories`, offset."""


class Range(NamedTuple):
    """`length` bytes of `memory`, from `offset` on, at physical `start`."""

    start: int
    length: int
    use: Use
    memory: GuestRam
    offset: int

    @property
    def end(self) -> int:
        return self.start + self.length

    def part(self, start: int, end: int) -> Range:
        """What of it lies in [start, end); nothing: no positive length."""
        start, end = max(start, self.start), min(end, self.end)
        return self._replace(start=start, length=end - start, offset=self.offset + start - self.start)

    @property
    def is_writable(self) -> bool:
        """Whether stores go to this memory."""
        return bool(_FLAGS[self.use] & PAGE_WRITABLE)

    @property
    def entry(self) -> int:
        """What native code finds for its pages and whole chunks (map_layout.py)."""
        return (self.memory.address + self.offset - self.start) % (1 << 64) | _FLAGS[self.use]

    def __str__(self) -> str:
        return f"{self.use.value} at {self.start:#x}..{self.end - 1:#x}"


class Processor(Protocol):
    """Who executes from the map."""

    def written(self, physical: int, size: int) -> None:
        """Somebody else has written to these addresses."""

    def remapped(self, physical: int, size: int) -> None:
        """Something else is at these addresses now."""

    def protect(self, physical: int, size: int) -> None:
        """The next store to each of these pages has to be noted."""


class PhysicalMap:
    """What is at which of the 2**36 physical addresses, in whole pages; native code reads it at `address`.

    Costs by what is mapped, not by its size: 2 MiB that are alike take 8 bytes. Whoever changes it while the guest runs
    does so in the guest's thread: devices, and what was posted.
    """

    def __init__(self, ram: GuestRam) -> None:
        """With RAM as a PC has it: up to `DEVICE_HOLE`, and what is left from 4 GiB up."""
        self.ram = ram
        self._area = Area(_CHUNK_MAP_BYTES + _TABLES * _TABLE_BYTES)
        self._dirty = Area(PAGES, sparse=True)
        self.address, self.dirty_address = self._area.address, self._dirty.address
        self._ranges: list[Range] = []  # ascending and disjoint
        self._starts: list[int] = []  # where each begins
        self._next_table = _CHUNK_MAP_BYTES
        self._free_tables: list[int] = []
        self._tables: dict[int, int] = {}  # chunk: where in the area its table is
        self._processors: list[weakref.ref[Processor]] = []
        self._sources: list[_Source] = []  # of the memory that is mapped
        self.memories: list[GuestRam] = []  # all that was ever mapped, in that order; RAM first
        offset = 0
        for start, length in ram_ranges(ram.size & -PAGE):
            self.add_ram(start, length, offset)
            offset += length
        self.ram_entry = self._ranges[0].entry  # of most of what a guest has

    # -- what is where ----------------------------------------------------------------------------------------------

    def add_ram(self, start: int, length: int, offset: int = 0) -> None:
        """The machine's RAM from `offset` on. Raises MapConflict if anything is there already, as do the others."""
        self._add(Range(start, length, Use.RAM, self.ram, offset))

    def add_rom(self, start: int, rom: GuestRam) -> None:
        """All of `rom`, which the guest cannot write."""
        self._add(Range(start, rom.size, Use.ROM, rom, 0))

    def add_window(self, start: int, memory: GuestRam, length: int | None = None, offset: int = 0) -> None:
        """A device's memory, all from `offset` on, accessed like RAM; `take_dirty` tells where it was written."""
        self._add(Range(start, memory.size - offset if length is None else length, Use.WINDOW, memory, offset))
        log = memory.keep_log()
        if log.since(memory) is None:  # it is at no other address yet
            log.same_as(memory)

    def remap(self, start: int, length: int, use: Use, memory: GuestRam, offset: int = 0) -> None:
        """Put this there instead of what is."""
        new = self._checked(Range(start, length, use, memory, offset))
        self._change(start, length, [new])

    def remove(self, start: int, length: int) -> None:
        """Leave these addresses to the devices of the bus."""
        self._check_addresses(start, length, "what is removed")
        self._change(start, length, [])

    def move(self, start: int, to: int) -> None:
        """Put what begins at `start` elsewhere."""
        found = self.at(start)
        if found is None or found.start != start:
            raise MapConflict(f"nothing begins at {start:#x}: give the first address of what moves")
        new = self._checked(found._replace(start=to))
        self._require_free(new, found)
        self._change(start, found.length, [])
        self._change(to, new.length, [new])

    def layout(self) -> Layout:
        """What is where, without host addresses: for another map that knows as many memories, in the same order."""
        numbers = {id(memory): number for number, memory in enumerate(self.memories)}
        return tuple((each.start, each.length, each.use, numbers[id(each.memory)], each.offset) for each in self)

    def restore_layout(self, layout: Layout) -> None:
        """Be laid out as `layout` says, with as few changes as possible."""
        wanted = [
            Range(start, length, use, self.memories[number], offset) for start, length, use, number, offset in layout
        ]
        before = list(self)
        for old in before:
            if old not in wanted:
                self._change(old.start, old.length, [])
        for new in wanted:
            if new not in before:
                self._change(new.start, new.length, [new])

    def at(self, physical: int) -> Range | None:
        """What is there; None: devices, or nobody."""
        place = bisect_right(self._starts, physical) - 1
        if place < 0:
            return None
        found = self._ranges[place]
        return found if physical < found.start + found.length else None

    def __iter__(self) -> Iterator[Range]:
        """All of it in ascending order."""
        return iter(self._ranges)

    def _add(self, new: Range) -> None:
        self._require_free(self._checked(new))
        self._change(new.start, new.length, [new])

    def _require_free(self, new: Range, moving: Range | None = None) -> None:
        for old in self._ranges:
            if old is not moving and old.start < new.end and new.start < old.end:
                raise MapConflict(f"{new} overlaps {old}: move one of them, or remap")

    def _checked(self, new: Range) -> Range:
        self._check_addresses(new.start, new.length, str(new))
        inside = new.offset >= 0 and new.offset % PAGE == 0 and new.offset + new.length <= new.memory.size
        if not inside:
            raise MapConflict(f"{new}: from {new.offset:#x} on its memory has less, or that is no page")
        if new.use is Use.ROM_OVER_RAM and new.end > low_ram(self.ram.size):
            raise MapConflict(f"{new}: there is no RAM behind it")
        return new

    def _check_twice(self, new: Range, kept: list[Range]) -> None:
        """RAM has one address, by which code from it is known. ROM may have several; windows too: they are pictures."""
        for old in kept:
            same = old.memory is new.memory and old.offset < new.offset + new.length
            if same and new.offset < old.offset + old.length and Use.RAM in (old.use, new.use):
                raise MapConflict(f"{new}: its memory is there as {old} too: RAM has one address")

    def _check_addresses(self, start: int, length: int, what: str) -> None:
        for name, value in (("start", start), ("length", length)):
            arguments.whole_number(name, value)
        if start < 0 or length <= 0 or start + length > _SPACE or (start | length) % PAGE:
            raise MapConflict(f"{what}: whole pages of 4 KiB below {_SPACE:#x} are wanted")

    def know(self, memory: GuestRam) -> None:
        """Have it be the map's, and in snapshots, whether it is mapped yet or not."""
        memory.sole_use = self.ram.sole_use
        if not any(memory is each for each in self.memories):
            self.memories.append(memory)

    def _change(self, start: int, length: int, new: list[Range]) -> None:
        end = start + length
        with self.ram.sole_use:
            kept = []
            given_up = []
            for old in self._ranges:
                if old.end <= start or end <= old.start:
                    kept.append(old)
                    continue
                given_up.append(old.part(start, end))
                kept += [part for part in (old.part(0, start), old.part(end, _SPACE)) if part.length > 0]
            for each in new:
                self._check_twice(each, kept)
            for old in given_up:
                self.hand_over(old)
            for each in new:
                self.know(each.memory)
            self._ranges = sorted([*kept, *new], key=lambda each: each.start)
            self._starts = [each.start for each in self._ranges]
            self._find_sources()
            self._describe(start, end)
            for processor in self.processors():
                processor.remapped(start, length)

    # -- for native code --------------------------------------------------------------------------------------------

    def _describe(self, start: int, end: int) -> None:
        """Write the entries of all chunks in [start, end)."""
        chunk, behind = start // CHUNK_BYTES, -(-end // CHUNK_BYTES)
        while chunk < behind:
            found = self.at(chunk * CHUNK_BYTES)
            whole = 0 if found is None else min(found.end // CHUNK_BYTES, behind) - chunk
            if found is not None and whole:  # RAM as a rule
                self._put(8 * chunk, _entries(found.entry, whole))
                for each in [each for each in self._tables if chunk <= each < chunk + whole]:
                    self._free_tables.append(self._tables.pop(each))
                chunk += whole
            else:
                self._describe_mixed(chunk)
                chunk += 1

    def _describe_mixed(self, chunk: int) -> None:
        """A chunk that nothing covers whole."""
        start = chunk * CHUNK_BYTES
        end = start + CHUNK_BYTES
        parts = [each.part(start, end) for each in self._ranges if each.start < end and start < each.end]
        if not parts:
            self._put(8 * chunk, _entries(0))
            if chunk in self._tables:
                self._free_tables.append(self._tables.pop(chunk))
            return
        if chunk not in self._tables:
            self._tables[chunk] = self._new_table()
        table = self._tables[chunk]
        entries = bytearray(_TABLE_BYTES)
        for part in parts:
            at, pages = (part.start - start) // PAGE * 8, part.length // PAGE
            entries[at : at + 8 * pages] = _entries(part.entry, pages)
        self._put(table, entries)
        self._put(8 * chunk, _entries(self._area.address + table | CHUNK_TABLE))

    def _new_table(self) -> int:
        if self._free_tables:
            return self._free_tables.pop()
        if self._next_table == self._area.size:
            raise MapConflict(f"more than {_TABLES} pieces of 2 MiB are mapped in parts: map larger ones")
        self._next_table += _TABLE_BYTES
        return self._next_table - _TABLE_BYTES

    def _put(self, at: int, entries: bytes | bytearray) -> None:
        self._area.map[at : at + len(entries)] = entries

    # -- contents ---------------------------------------------------------------------------------------------------

    def read(self, physical: int, size: int) -> bytes:
        """`size` bytes at a physical address; raises OutsideRam unless all of them are memory."""
        whole = self.at(physical)
        if whole is not None and physical + size <= whole.start + whole.length:  # nearly always
            return whole.memory.read(whole.offset + physical - whole.start, size)
        return b"".join([part.memory.read(part.offset, part.length) for part in self._parts(physical, size)])

    def write(self, physical: int, data: bytes | bytearray | memoryview) -> None:
        """Store as `GuestRam.write` does, also to ROM. Raises OutsideRam, with nothing written."""
        piece = memoryview(data).cast("B")
        at = 0
        for part in list(self._parts(physical, piece.nbytes)):
            part.memory.write(part.offset, piece[at : at + part.length])
            at += part.length

    def _parts(self, physical: int, size: int) -> Iterator[Range]:
        end = physical + size
        while physical < end:
            found = self.at(physical)
            if found is None:
                raise OutsideRam(f"no memory at {physical:#x}: only devices are there")
            part = found.part(physical, end)
            yield part
            physical = part.end

    # -- processors ---------------------------------------------------------------------------------------------------

    def watch(self, processor: Processor) -> None:
        """Tell a processor what happens here, until `forget` or it goes. RAM cannot be closed before."""
        self._deafen()
        self._processors.append(weakref.ref(processor))
        self._listen()

    def forget(self, processor: Processor) -> None:
        """Tell it no more."""
        self._deafen()
        self._processors = [each for each in self._processors if each() not in (None, processor)]
        self._listen()

    def processors(self) -> Iterator[Processor]:
        """Those that execute from it."""
        for reference in self._processors:
            if (processor := reference()) is not None:
                yield processor

    def tell_processors(self, physical: int, size: int) -> None:
        """Somebody else has written there: the way of every DMA, in a loop without a generator, 0.5 us less."""
        for reference in self._processors:
            if (processor := reference()) is not None:
                processor.written(physical, size)

    def _find_sources(self) -> None:
        self._deafen()
        known = {id(source.memory): source for source in self._sources}
        mapped = {id(each.memory): each.memory for each in self}
        self._sources = [known.get(number) or _Source(self, memory) for number, memory in mapped.items()]
        for source in self._sources:
            source.mapped(self)
        self._listen()

    def _listen(self) -> None:
        """Hear of writes to all memory that is mapped, while there is a processor to tell."""
        if self._processors:
            for source in self._sources:
                source.memory.watch(source.written)

    def _deafen(self) -> None:
        if self._processors:
            for source in self._sources:
                source.memory.forget(source.written)

    def close(self) -> None:
        """Unmap what native code reads; no processor may use it any more. Twice is fine."""
        self._sources = []
        self._area.close()
        self._dirty.close()

    # -- who writes where -------------------------------------------------------------------------------------------

    def take_dirty(self, memory: GuestRam) -> list[int]:
        """The pages of it (offsets in bytes, ascending) that were written, by whomever, since this was last asked.

        A window's log begins when it is mapped; what was never asked for before is dirty as a whole.
        """
        with self.ram.sole_use:
            log = memory.keep_log()
            marks = log.since(memory)
            log.same_as(memory)
            if marks is None:
                return list(range(0, memory.size, PAGE))
            return [page * PAGE for first, end in runs(marks) for page in range(first, end)]

    def presume_written(self, part: Range) -> None:
        """Mark all pages of it, if nobody keeps a log of its memory: until then nobody asks.

        So whoever has to attend to each first store has nothing to attend to.
        """
        if part.is_writable and not part.memory.is_logged:
            self._dirty.map[part.start // PAGE : part.end // PAGE] = bytes((PAGE_DIRTY,)) * (part.length // PAGE)

    def marks(self, first: int, last: int) -> Marks:
        """What processors have marked of the pages from number `first` to before `last`."""
        return self._dirty.map[first:last]

    def hand_over(self, part: Range) -> None:
        """Let its memory know what processors have written there; from now on they note it anew."""
        first, last = part.start // PAGE, part.end // PAGE
        if part.use is Use.ROM_OVER_RAM:  # stores to the RAM behind are not marked one by one
            self.ram.note_dirty(first, bytes((PAGE_DIRTY,)) * (last - first))
            return
        marks = self._dirty.map[first:last]
        if PAGE_DIRTY in marks:  # found, or not, in 1 us for 128 MiB; strip takes 95
            part.memory.note_dirty(part.offset // PAGE, marks)
            self._dirty.map[first:last] = bytes(last - first)
            for processor in self.processors():
                processor.protect(part.start, part.length)


def _entries(entry: int, count: int = 1) -> bytes:
    return entry.to_bytes(8, "little") * count


class _Source:
    """Memory that is mapped: between it and the places where it is."""

    def __init__(self, map_: PhysicalMap, memory: GuestRam) -> None:
        self._map, self.memory = weakref.ref(map_), memory
        self._places: list[tuple[int, int, int]] = []  # first offset, the one behind the last, physical address of 0
        memory.log_from(self.collect)

    def mapped(self, ranges: Iterable[Range]) -> None:
        """These are in the map from now on; those that are of this memory are its own."""
        self._places = [
            (each.offset, each.offset + each.length, each.start - each.offset)
            for each in ranges
            if each.memory is self.memory
        ]

    def collect(self) -> None:
        """Put into its log what processors have written."""
        if (map_ := self._map()) is not None:
            for each in map_:
                behind = each.use is Use.ROM_OVER_RAM
                if (map_.ram if behind else each.memory) is self.memory:
                    map_.hand_over(each)

    def written(self, offset: int, size: int) -> None:
        """Tell the processors what somebody else has written to it."""
        if (map_ := self._map()) is None:
            return
        for first, end, base in self._places:
            if offset < end and first < offset + size:
                start = max(offset, first)
                map_.tell_processors(base + start, min(offset + size, end) - start)
