"""Units of 64-bit code of one processor: from recorded paths to host code that the interpreter comes to."""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from bt.codegen.arena import ArenaFull
from bt.codegen.host_bytes import JUMP_BYTES, JUMP_REL32
from bt.engine.identity.long.decoded import LongBlock, LongDecoded, decoded_at, first_records
from bt.engine.identity.long.encoding import HELD, HOST, S0, NotEncodable, gpr, i32, load, move, slot, store
from bt.engine.identity.long.host_code import NewReach, Passing
from bt.engine.identity.long.layout import IN_LONG_UNIT, LONG_MEMBERS, LONG_UNIT, LONG_UNIT_BYTES, LONG_UNITS
from bt.engine.identity.long.paths import LONGEST_RUN, UNROLLED_INSNS, Run, runs_of
from bt.engine.identity.long.reach_code import PATIENCE, look_around
from bt.engine.identity.long.signatures import (
    COUNT,
    ENTER,
    LEAVE_NEIGHBOURS,
    LEAVE_SAMPLED,
    LEAVE_TO,
    LEAVE_UNIT,
    PREPARE_FP,
)
from bt.engine.identity.long.surroundings import Draft, End, Step, Surroundings
from bt.engine.identity.long.transfer_code import Entry, Link, enter
from bt.engine.identity.long.unit import UnitWriter, Written
from bt.engine.identity.making.undefined_flags import ask_host
from bt.engine.structures import BLOCK, BLOCK_BYTES, LONG_VARIANTS
from bt.host.reserved import Refused
from bt.memory.soft_mmu.host_form import REACH, REACH_BYTES, REACHES, host_form

if TYPE_CHECKING:
    from bt.engine.translator.vcpu import TranslatingVcpu

MOST_PIECES = 128  # 32 MiB
MOST_CODE = 64 << 10  # B, of a unit
_ALIGNMENT = 64
_MOST_MADE = 8  # units from one place; what they were made from keeps changing
_FRAME = slot("host_frame")
_RBP, _FREE, _RECORD = 5, 14, 12


class _Manner(NamedTuple):
    """How a unit accesses memory."""

    remembers: bool  # accesses have reaches
    shares: bool = True  # they ask for their neighbours


class _Source(NamedTuple):
    """What a unit was made from: record, where the path goes on, address of the block."""

    steps: list[tuple[int, int | None, int]]
    end: End
    manner: _Manner


class _NoRoom(Exception):
    """Its areas are full."""


class LongTier:
    """Made at the first promotion. Raises Refused where there is no room for its code."""

    def __init__(self, cpu: TranslatingVcpu, *, everything: bool, reaches_at_once: bool) -> None:
        self._cpu = cpu
        self._most_made = LONG_UNITS if everything else _MOST_MADE
        self._at_first = _Manner(remembers=reaches_at_once)
        library = cpu.library
        self._to_write = library.arena.write_base - library.arena.exec_base
        try:
            self._pieces = cpu.units_of_long_code(MOST_PIECES)
        except ArenaFull:
            raise Refused("no room for its code is left") from None
        self._missing = library.forms_without(cpu.model)
        self._units, self._members = cpu.area(LONG_UNITS * LONG_UNIT_BYTES, sparse=True), cpu.area(8 * LONG_MEMBERS)
        cpu.set_control("long_units", self._units.address)
        cpu.set_control("long_members", self._members.address)
        self._known_reaches = cpu.area(8 * (REACHES + 1), sparse=True)
        cpu.state["reaches"] = self._known_reaches.address
        self._count, self._enter = library.symbols[COUNT.name], library.symbols[ENTER.name]
        self._next = self._pieces.current
        self._unlike = ask_host(self._for_a_moment).unlike
        self.places: Counter[int] = Counter()  # units made, by RIP
        self.reasons: Counter[str] = Counter()  # why runs became none
        self.forget()

    # -- life ----------------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """All units: what they were made from is about to be forgotten."""
        self._pieces.shrink()
        self._begin_piece()
        self._known_reaches.map[:8] = bytes(8)
        self._units_next = 0
        self._members_next = 0
        self._cpu.set_control("long_members_next", 0)
        self._first_records: list[int] = []  # by number of the block
        # by physical page, mode and RIP: where other units come in, and code of units of the same page that leads there
        self._entries: dict[tuple[int, int, int], Entry] = {}
        self._sites: dict[tuple[int, int, int], list[tuple[int, int, Passing]]] = {}
        self._heads: dict[int, int] = {}  # entries by record
        self._sources: dict[int, _Source] = {}  # of units, by host address of LONG_UNIT
        self._write_ways()

    def _begin_piece(self) -> None:
        """Code from its beginning, reaches from its end."""
        self._next, self._reach_top = self._pieces.current, self._pieces.end

    def _write_ways(self) -> None:
        """What all units share: the ways out and in."""
        symbols = self._cpu.library.symbols
        spill = b"".join(store(gpr(n), HOST[n]) for n in HELD) + load(_RBP, _FRAME)
        ways = []
        for register, signature in (
            (_RECORD, LEAVE_UNIT),
            (_FREE, LEAVE_TO),
            (_FREE, PREPARE_FP),
            (_RECORD, LEAVE_NEIGHBOURS),
            (_RECORD, LEAVE_SAMPLED),
        ):
            target = symbols[signature.name]
            code = spill + move(register, S0)
            ways.append(self._add(code + bytes((JUMP_REL32,)) + bytes(4)))
            jump = ways[-1] + len(code)
            self._write(jump + 1, i32(target - jump - 5))
        resume = move(S0, _FREE) + store(_FRAME, _RBP) + b"".join(load(HOST[n], gpr(n)) for n in HELD)
        self._cpu.set_control("long_resume", self._add(resume + bytes.fromhex("41ffe2")))  # jmp r10
        supervisor, user = (
            (self._add(look_around(form, write=False)), self._add(look_around(form, write=True)))
            for form in (host_form(user=False), host_form(user=True))
        )
        looks = supervisor, user
        way_out, way_to, way_fp, way_neighbours, way_sampled = ways
        self._around = Surroundings(
            way_out, way_to, way_fp, way_neighbours, way_sampled, looks, self._to_write, self._unlike
        )

    def _write(self, host: int, code: bytes) -> None:
        ctypes.memmove(host + self._to_write, code, len(code))

    def _add(self, code: bytes) -> int:
        at = self._next
        self._write(at, code)
        self._next = -(-(at + len(code)) // _ALIGNMENT) * _ALIGNMENT
        return at

    def _for_a_moment(self, code: bytes) -> int:
        self._write(self._next, code)
        return self._next

    # -- promotion -----------------------------------------------------------------------------------------------------

    def promote(self, records: Sequence[int]) -> None:
        """Have units for a path, given by the first records of its blocks."""
        blocks = [block for record in records if (block := self._block_of(record)) is not None]
        if not blocks:
            return
        path, following = (blocks[:-1], blocks[-1].eip) if len(blocks) > 1 else (blocks, None)
        try:
            for run in runs_of(path, following, lambda block: block.records in self._heads):
                self._make_run(run)
        except _NoRoom:
            self.reasons["its areas are full"] += 1
            self._cpu.forget_everything()
            return
        head = path[0].records
        if self._handler(head) == self._count:
            self._own(head)
            self.reasons["nothing of its beginning is for a unit"] += 1

    def _block_of(self, record: int) -> LongBlock | None:
        """The block that begins with a record: they lie in the same order."""
        base, count = self._cpu.control("blocks_base"), self._cpu.control("blocks_next")
        known = self._first_records
        if len(known) < count:
            known += first_records(base + len(known) * BLOCK_BYTES, base + count * BLOCK_BYTES)
        number = bisect_right(known, record, lo=1) - 1
        if not number:
            return None
        block = LongBlock.at(base + number * BLOCK_BYTES)
        return block if block.records == record and block.usable else None

    def _make_run(self, run: Run) -> None:
        steps, blocks, closes, exit = run
        head = steps[0].i.eip
        while steps:
            end = next((n for n, each in enumerate(steps) if each.i.form in self._missing), None)
            if end is None:
                end = self._make(steps, blocks, End(closes, exit), self._at_first)
                if end is None:
                    return
            if end:
                self._make(steps[:end], blocks[:end], End(exit_record=steps[end].i.record), self._at_first)
            if closes:
                closes, exit = False, head
                if steps[-1].i.its_form.meaning.startswith("control."):
                    exit = None
                    steps = [*steps[:-1], steps[-1]._replace(onward=None)]
            steps, blocks = steps[end + 1 :], blocks[end + 1 :]

    def _make(self, steps: list[Step], blocks: list[LongBlock], end: End, manner: _Manner) -> int | None:
        """Make a unit. Answers None if that is all, else which instruction is none for a unit."""
        first = steps[0].i
        if self._handler(first.record) not in (self._count, self._own_handler(first)):
            return None  # it has one, or is gone, or a breakpoint
        if self.places[first.eip] >= self._most_made:
            self.reasons["its place has had several already"] += 1
            return None
        if not self._has_room(len(steps)):
            raise _NoRoom
        unrolled = steps * max(UNROLLED_INSNS // len(steps), 1) if end.closes else steps
        unit = self._units.address + self._units_next * LONG_UNIT_BYTES
        reach_top = self._reach_top if manner.remembers else None
        draft = Draft(unrolled, blocks[0].mode, self._next, reach_top, self._around, unit, manner.shares)
        writer = UnitWriter(draft, end, self._enter)
        try:
            written = writer.write()
        except NotEncodable as why:
            self.reasons[str(why)] += 1
            return writer.at % len(steps)
        assert len(written.code) <= MOST_CODE
        start = self._add(written.code)
        self._enter_reaches(start, written.code, writer.reaches)
        self._enter_unit(first.record, start, written, writer.entry)
        self._link(blocks[0], first.eip, start, writer.entry, writer.links)
        self._enter_members({block.address for block in blocks[: len(steps)]})
        self.places[first.eip] += 1
        if writer.has_neighbours or not manner.remembers:
            triples = [(step.i.record, step.onward, block.address) for step, block in zip(steps, blocks, strict=False)]
            self._sources[unit] = _Source(triples, end, manner)
        return None

    def make_anew(self, unit: int, **change: bool) -> None:
        """Make a unit (host address of its LONG_UNIT) anew, `change` of its _Manner changed."""
        source = self._sources.pop(unit, None)
        if source is None or _quad(unit + LONG_UNIT.offsets["dead"]):
            return
        record, entry = (_quad(unit + LONG_UNIT.offsets[name]) for name in ("record", "entry"))
        ctypes.c_uint64.from_address(unit + LONG_UNIT.offsets["dead"]).value = 1
        for place, code in (("hot", "dead_jump"), ("inside", "dead_inside")):
            self._write(_quad(unit + LONG_UNIT.offsets[place]), ctypes.string_at(unit + LONG_UNIT.offsets[code], 8))
        if self._handler(record) != entry:
            return
        self._own(record)
        steps = [Step(decoded_at(at), onward) for at, onward, _ in source.steps]
        blocks = [LongBlock.at(address) for _, _, address in source.steps]
        self.places[steps[0].i.eip] -= 1
        try:
            self._make(steps, blocks, source.end, source.manner._replace(**change))
        except _NoRoom:
            self._cpu.forget_everything()

    def _link(self, block: LongBlock, eip: int, start: int, entry: Entry, links: Sequence[Link]) -> None:
        """Have units of a page jump to each other, once there are both: where one may run, so may the other."""
        page = (block.page, block.mode)
        self._entries[*page, eip] = entry
        for site, rest, flags in self._sites.get((*page, eip), ()):
            self._write(site, enter(site, entry, rest, flags))
        for link in links:
            site, target = start + link.at, (*page, link.target)
            self._sites.setdefault(target, []).append((site, link.rest, link.flags))
            if target in self._entries:
                self._write(site, enter(site, self._entries[target], link.rest, link.flags))

    def _has_room(self, steps: int) -> bool:
        if self._next + MOST_CODE + 2 * REACH_BYTES * LONGEST_RUN > self._reach_top:
            if not self._pieces.grow():
                return False
            self._begin_piece()
        return self._units_next < LONG_UNITS and self._members_next + steps < LONG_MEMBERS

    def _enter_reaches(self, start: int, code: bytes, reaches: Sequence[NewReach]) -> None:
        for reach in reaches:
            site = reach.site
            jump = bytes((JUMP_REL32,)) + i32(reach.detour - site - JUMP_BYTES) + code[site + JUMP_BYTES : site + 8]
            fields = {
                "low": 0,
                "limit": 0,
                "addend": 0,
                "size": reach.size,
                "patience": PATIENCE,
                "mark": 0,
                "site": start + site + self._to_write,
                "detour": int.from_bytes(jump, "little"),
            }
            self._write(reach.address, b"".join(fields[name].to_bytes(8, "little") for name in REACH.offsets))
        self._reach_top -= REACH_BYTES * len(reaches)

    def _enter_unit(self, record: int, start: int, written: Written, entry: Entry) -> None:
        fields = {
            "record": record,
            "entry": start,
            "hot": start + written.hot,
            "dead_jump": int.from_bytes(written.dead_jump, "little"),
            "inside": entry.inside,
            "dead_inside": int.from_bytes(written.dead_inside, "little"),
            "dead": 0,
            "misses": 0,
            "counted_from": 0,
            "samples": 0,
        }
        for name, value in fields.items():
            at = self._units_next * LONG_UNIT_BYTES + LONG_UNIT.offsets[name]
            self._units.map[at : at + 8] = value.to_bytes(8, "little")
        self._units_next += 1
        self._heads[record] = start
        self._set_handler(record, start)
        self._cpu.set_control("units_made", self._cpu.control("units_made") + 1)

    def _enter_members(self, addresses: set[int]) -> None:
        base, unit = self._cpu.control("blocks_base"), self._units_next - 1
        for address in addresses:
            pair = ((address - base) // BLOCK_BYTES).to_bytes(4, "little") + unit.to_bytes(4, "little")
            self._members.map[8 * self._members_next : 8 * self._members_next + 8] = pair
            self._members_next += 1
            ctypes.c_uint8.from_address(address + BLOCK.offsets["in_units"]).value = IN_LONG_UNIT
        self._cpu.set_control("long_members_next", self._members_next)

    # -- handlers of records -------------------------------------------------------------------------------------------

    @staticmethod
    def _handler(record: int) -> int:
        return _quad(record)

    @staticmethod
    def _set_handler(record: int, handler: int) -> None:
        ctypes.c_uint64.from_address(record).value = handler

    def _own_handler(self, i: LongDecoded) -> int:
        table = self._cpu.control("long_handlers")
        return _quad(table + 8 * (i.form * LONG_VARIANTS + i.variant))

    def _own(self, record: int) -> None:
        """Have a record run by itself from now on."""
        self._set_handler(record, self._own_handler(decoded_at(record)))


def _quad(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value
