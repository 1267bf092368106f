"""Blocks of decoded guest code: found by physical address, EIP and mode; made on demand; killed when bytes change.

A block never leaves its page, so one page translation covers it; an instruction that crosses into the next page is a
block of its own, which remembers that second page. Killing a block redirects its records to the stale handler instead
of freeing them: the block that is running may be the one that dies (self-modifying code).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import and_

from bt.codegen.abi import Signature, native
from bt.codegen.builder import Local
from bt.codegen.value import PTR, Value
from bt.engine.breakpoint_code import is_marked
from bt.engine.code_bytes import add_code, begin_row, is_spared
from bt.engine.decode import DECODE, DECODE_LONG, DECODE_MORE, LOOK_AHEAD, MAX_LENGTH
from bt.engine.structures import (
    BLOCK,
    BLOCK_BYTES,
    CONTROL,
    HASH_ENTRIES,
    LONG_RECORD,
    MAX_BLOCK_INSNS,
    NO_PAGE,
    RECORD,
    RECORD_BYTES,
    SHAPE,
    SHAPE_BYTES,
    SHAPE_ENDS,
)
from bt.memory.access import Body, NativeContext
from bt.memory.backend import ACCESS_FETCH, PROTECT, RESOLVE
from bt.memory.physical import CODE_GRANULE_SHIFT, code_map_slot, page_number
from bt.x86.context import EXIT, FAULT, GP, OK
from bt.x86.exits import ExitReason
from bt.x86.mode import CODE_64
from bt.x86.page import PAGE
from bt.x86.services import CODE_WRITTEN
from bt.x86.state import CS
from bt.x86.system.operating_mode import further, in_64_bit_mode, instruction_linear
from bt.x86.system.paging.fetched_pages import note_fetch

# The block for the state's EIP and mode: host address of its BLOCK, or null with the reason (FAULT, EXIT) in `status`.
FIND_BLOCK = native("find_block", PTR, result=PTR)
# Decode a new block: state, guest physical address, host address of the code.
MAKE_BLOCK = native("make_block", PTR, "i64", PTR, result=PTR)
# What the translator does when a block dies: state, block.
FORGET_TRANSLATION = native("forget_translation", PTR, PTR, result="void")
# Fetch the instruction that crosses a page into CONTROL.fetch: state, bytes on the first page.
GATHER = native("gather", PTR, PTR, "i32")


def _give_up(b: NativeContext, control: Value, status: int | Value) -> None:
    CONTROL.put(b, control, "status", status)
    b.ret(b.const(0, PTR))


def _block_at(b: NativeContext, control: Value, number: Value) -> Value:
    return CONTROL.get_pointer(b, control, "blocks_base") + (number.zext(64) * BLOCK_BYTES)


def _hash_slot(b: NativeContext, control: Value, physical: Value, mode: Value) -> Value:
    mixed = physical ^ (physical >> 14) ^ (mode << 7)
    return CONTROL.get_pointer(b, control, "hash") + ((mixed & (HASH_ENTRIES - 1)) << 2)


def _limit(b: NativeContext) -> Value:
    """The last EIP that code may lie at, i64; 64-bit mode has none."""
    return b.select(in_64_bit_mode(b), b.const(-1, 64), b.get_segment(CS, "limit"))


def _for_mode(b: NativeContext, control: Value, name: str, mode: Value) -> Value:
    """The control block's handler of that name for code of a mode (i64)."""
    return b.select((mode & CODE_64) != 0, CONTROL.get(b, control, f"long_{name}"), CONTROL.get(b, control, name))


def _find_block(b: NativeContext) -> None:
    control = b.get_pointer("engine")
    eip = b.get("eip")
    out_of_range = b.select(in_64_bit_mode(b), (eip << 16).sar(16) != eip, eip.ugt(b.get_segment(CS, "limit")))
    with b.Unlikely(out_of_range):
        b.put("fault_vector", GP)
        b.put("fault_has_error", 1)
        b.put("fault_error", 0)
        _give_up(b, control, FAULT)
    linear = instruction_linear(b)
    status = b.call(RESOLVE, b.cpu, linear, 0, ACCESS_FETCH)
    with b.Unlikely(status != OK):
        _give_up(b, control, status)
    note_fetch(b, linear)
    host, physical = b.local(64, b.get("memory_value")), b.get("exit_address")
    with b.Unlikely(host.get() == 0):
        host.set(CONTROL.get(b, control, "open_bus") | (linear & (PAGE - 1)))
    mode = b.get("mode")
    number = b.local(32, b.load(_hash_slot(b, control, physical, mode), 32))
    with b.Loop() as loop:
        loop.break_if(number.get() == 0)
        block = _block_at(b, control, number.get())
        same = BLOCK.get(b, block, "physical") == physical
        same = same & (BLOCK.get(b, block, "eip") == eip) & (BLOCK.get(b, block, "mode") == mode.trunc(32))
        last = eip + BLOCK.get(b, block, "bytes").zext(64) - 1
        same = same & last.ule(_limit(b))  # another CS may have had a larger one
        with b.If(same & (BLOCK.get(b, block, "dead") == 0)):
            second = BLOCK.get(b, block, "physical2")
            with b.If(second == NO_PAGE):
                b.ret(block)
            next_page = further(b, linear | (PAGE - 1), 1)
            status = b.call(RESOLVE, b.cpu, next_page, 0, ACCESS_FETCH)
            with b.Unlikely(status != OK):
                _give_up(b, control, status)
            note_fetch(b, next_page)
            # the walk may have written an accessed bit into the instruction itself
            alive = BLOCK.get(b, block, "dead") == 0
            with b.If(alive & (b.get("exit_address") == second)):
                b.ret(block)
        number.set(BLOCK.get(b, block, "hash_next"))
    b.ret(b.call(MAKE_BLOCK, b.cpu, physical, host.get().to_pointer()))


def _gather(b: NativeContext) -> None:
    """Bytes of both pages into CONTROL.fetch; faults as a fetch of the second page would. physical2 in memory_value."""
    _, code, readable = b.arguments
    control = b.get_pointer("engine")
    fetch = CONTROL.pointer(control, "fetch")
    linear = further(b, instruction_linear(b), readable.zext(64))
    b.attempt(RESOLVE, b.cpu, linear, 0, ACCESS_FETCH)
    note_fetch(b, linear)
    host = b.local(64, b.get("memory_value"))
    second = b.get("exit_address")
    with b.Unlikely(host.get() == 0):
        host.set(CONTROL.get(b, control, "open_bus"))
    _copy(b, fetch, code, readable)
    _copy(b, fetch + readable.zext(64), host.get().to_pointer(), b.const(16, 32))
    b.put("memory_value", second)


def _copy(b: NativeContext, target: Value, source: Value, size: Value) -> None:
    with b.Range(size) as i:
        b.store(target + i.zext(64), b.load(source + i.zext(64), 8))


def _page_head(b: NativeContext, control: Value, physical: Value) -> Value:
    """Where the list of the blocks with code from a page begins."""
    return CONTROL.get_pointer(b, control, "page_blocks") + (page_number(physical) << 2)


class _BlockMaker:
    """Builds `make_block`: decode to the end of the block, then enter it into hash and page lists."""

    def __init__(self, b: NativeContext) -> None:
        self.b = b
        _, self.physical, self.code = b.arguments
        self.control = b.get_pointer("engine")
        self.first_record = CONTROL.get_pointer(b, self.control, "records_next")
        self.count, self.bytes = b.local(32, 0), b.local(32, 0)
        self.second_page = b.local(64, NO_PAGE)
        self.eip = b.local(64, b.get("eip"))
        self.started = b.cycles()

    def build(self) -> None:
        b, control = self.b, self.control
        room = self.first_record + (MAX_BLOCK_INSNS + 1) * RECORD_BYTES
        full = room.zext(64).ugt(CONTROL.get(b, control, "records_end"))
        full = full | CONTROL.get(b, control, "blocks_next").uge(CONTROL.get(b, control, "blocks_end"))
        with b.Unlikely(full):
            b.put("exit_reason", int(ExitReason.CACHE_FULL))
            _give_up(b, control, EXIT)
        ends = b.local(1, 0)
        with b.Loop() as loop:
            count = self.count.get()
            loop.break_if(ends.get() | count.zext(64).uge(CONTROL.get(b, control, "block_limit")))
            length = b.local(32, 0)
            record = self._record()
            self._decode_one(record, length)
            loop.break_if(length.get() == 0)
            marked = is_marked(b, control, record, self.physical + self.bytes.get().zext(64))
            loop.break_if(marked & (count != 0))
            with b.Unlikely(marked):
                RECORD.put(b, record, "handler", _for_mode(b, control, "breakpoint_handler", b.get("mode")))
            form = RECORD.get(b, record, "form").zext(64)
            shape = CONTROL.get_pointer(b, control, "shapes") + (form * SHAPE_BYTES)
            ends.set(marked | ((SHAPE.get(b, shape, "flags") & SHAPE_ENDS) != 0))
            RECORD.put(b, record, "number", count)
            self.count.set(count + 1)
            self.bytes.set(self.bytes.get() + length.get())
            self.eip.set(further(b, self.eip.get(), length.get().zext(64)))
            loop.break_if(self.second_page.get() != NO_PAGE)
            offset = (self.physical & (PAGE - 1)).trunc(32) + self.bytes.get()
            loop.break_if(offset.uge(PAGE))
            loop.break_if(self.eip.get().ugt(_limit(b)))
        self._chain_record()
        self._enter()

    def _record(self) -> Value:
        return self.first_record + (self.count.get().zext(64) * RECORD_BYTES)

    def _decode_one(self, record: Value, length: Local) -> None:
        """Decode at the current place. Length 0 ends the block before an instruction that needs another page."""
        b = self.b
        code = self.code + self.bytes.get().zext(64)
        room = b.const(PAGE, 32) - ((self.physical & (PAGE - 1)).trunc(32) + self.bytes.get())
        limit_room = b.get_segment(CS, "limit") - self.eip.get() + 1
        limit_room = b.select(in_64_bit_mode(b), b.const(PAGE, 64), limit_room)
        with b.IfElse(room.uge(LOOK_AHEAD)) as arm:
            with arm.then():
                self._call_decoder(length, code, b.const(MAX_LENGTH, 32), record)
            with arm.otherwise():
                fetch = CONTROL.pointer(self.control, "fetch")
                _copy(b, fetch, code, room)
                readable = b.select(room.ult(MAX_LENGTH), room, b.const(MAX_LENGTH, 32))
                self._call_decoder(length, fetch, readable, record)
                with b.If(length.get() == DECODE_MORE), b.IfElse(self.count.get() == 0) as first:
                    with first.then():
                        self._beyond_limit(limit_room.ule(room.zext(64)))
                        status = b.call(GATHER, b.cpu, code, room)
                        with b.Unlikely(status != OK):
                            _give_up(b, self.control, status)
                        self.second_page.set(b.get("memory_value"))
                        self._call_decoder(length, fetch, b.const(MAX_LENGTH, 32), record)
                    with first.otherwise():
                        length.set(0)
        with b.Unlikely(length.get().zext(64).ugt(limit_room)):
            self._beyond_limit(self.count.get() == 0)
            length.set(0)

    def _count_from_now_on(self) -> None:
        """Have the block's first record count how often it is come to, where there are units of 64-bit code."""
        b, control, record = self.b, self.control, self.first_record
        counts = CONTROL.get(b, control, "long_count_handler")
        handler = RECORD.get(b, record, "handler")
        others = (CONTROL.get(b, control, f"long_{name}_handler") for name in ("length", "breakpoint"))
        is_its_own = reduce(and_, (handler != other for other in others))
        with b.If((counts != 0) & is_its_own):
            RECORD.put(b, record, "handler", counts)
            LONG_RECORD.put(b, record, "heat", 0)

    def _call_decoder(self, length: Local, code: Value, readable: Value, record: Value) -> None:
        b, eip = self.b, self.eip.get()
        with b.IfElse(in_64_bit_mode(b)) as mode:
            with mode.then():
                length.set(b.call(DECODE_LONG, b.cpu, code, readable, eip, record))
            with mode.otherwise():
                length.set(b.call(DECODE, b.cpu, code, readable, eip.trunc(32), record))

    def _beyond_limit(self, fault: Value) -> None:
        """Fetching beyond the limit of CS is #GP(0) (SDM vol. 3A 5.3), once everything before has run; the page behind
        it is not looked at.
        """
        b = self.b
        with b.Unlikely(fault):
            b.put("fault_vector", GP)
            b.put("fault_has_error", 1)
            b.put("fault_error", 0)
            _give_up(b, self.control, FAULT)

    def _chain_record(self) -> None:
        """Behind the last instruction: what goes on at the next block when there was no transfer."""
        b = self.b
        record = self._record()
        RECORD.put(b, record, "handler", _for_mode(b, self.control, "chain_handler", b.get("mode")))
        with b.IfElse(in_64_bit_mode(b)) as mode:
            with mode.then():
                LONG_RECORD.put(b, record, "eip", self.eip.get())
                self._count_from_now_on()
            with mode.otherwise():
                RECORD.put(b, record, "eip", self.eip.get())
                RECORD.put(b, record, "next_eip", self.eip.get())
        CONTROL.put(b, self.control, "records_next", record + RECORD_BYTES)

    def _enter(self) -> None:
        b, control = self.b, self.control
        number = CONTROL.get(b, control, "blocks_next")
        CONTROL.put(b, control, "blocks_next", number + 1)
        block = _block_at(b, control, number)
        slot = _hash_slot(b, control, self.physical, b.get("mode"))
        for name, value in (
            ("physical", self.physical),
            ("records", self.first_record),
            ("host", b.const(0, 64)),
            ("physical2", self.second_page.get()),
            ("eip", b.get("eip")),
            ("mode", b.get("mode")),
            ("hash_next", b.load(slot, 32)),
            ("page_next", b.const(0, 32)),
            ("page2_next", b.const(0, 32)),
            ("count", self.count.get()),
            ("bytes", self.bytes.get()),
            ("dead", b.const(0, 8)),
            ("in_units", b.const(0, 8)),
        ):
            BLOCK.put(b, block, name, value)
        b.store(slot, number.trunc(32))
        self._track(block, number, "page_next", self.physical, self.bytes.get())
        second = self.second_page.get()
        with b.If(second != NO_PAGE):
            first_bytes = b.const(PAGE, 32) - (self.physical & (PAGE - 1)).trunc(32)
            self._track(block, number, "page2_next", second, self.bytes.get() - first_bytes)
        CONTROL.count(b, control, "decode_cycles", b.cycles() - self.started)
        CONTROL.count(b, control, "blocks_made")
        CONTROL.count(b, control, "insns_decoded", self.count.get())
        b.ret(block)

    def _track(self, block: Value, number: Value, link: str, physical: Value, size: Value) -> None:
        """Note that code came from [physical, physical + size), as far as its page goes."""
        b = self.b
        # the list link of a block in a page is page_next or page2_next; bit 31 of a number says which
        head = _page_head(b, self.control, physical)
        BLOCK.put(b, block, link, b.load(head, 32))
        second = SECOND_LINK if link == "page2_next" else 0
        b.store(head, number.trunc(32) | second)
        slot = code_map_slot(b, physical)
        old = b.load(slot, 64)
        b.store(slot, old | _granules(b, physical, size))
        add_code(b, self.control, physical, size)
        with b.If(old == 0):
            b.call(PROTECT, b.cpu, physical & -PAGE, PAGE)


SECOND_LINK = 1 << 31


def _granules(b: NativeContext, physical: Value, size: Value) -> Value:
    """Code-map bits of the 64-byte granules of [physical, physical + size) within one page, i64."""
    first = (physical >> CODE_GRANULE_SHIFT) & 63
    end = (physical & (PAGE - 1)) + size.zext(64) - 1
    end = b.select(end.ugt(PAGE - 1), b.const(PAGE - 1, 64), end)
    last = end >> CODE_GRANULE_SHIFT
    ones = b.const(-1, 64)
    return (ones << first) & (ones >> (b.const(63, 64) - last))


def _code_written(b: NativeContext) -> None:
    """Kill the blocks that overlap the written bytes, and rebuild the page's list and code map from the others."""
    _, physical, size = b.arguments
    control = b.get_pointer("engine")
    with b.If(is_spared(b, control, physical, size)):
        b.ret(OK)
    kept, code_map, killed = b.local(32, 0), b.local(64, 0), b.local(1, 0)
    with _Blocks(b, control, physical) as found:
        overlaps = found.begin.ult(physical + size.zext(64)) & physical.ult(found.begin + found.span)
        with b.If(overlaps & (BLOCK.get(b, found.block, "dead") == 0)):
            _kill(b, control, found.block)
            killed.set(1)
        with b.If(BLOCK.get(b, found.block, "dead") == 0):
            b.store(found.link, kept.get())
            kept.set(found.entry)
            code_map.set(code_map.get() | _granules(b, found.begin, found.span.trunc(32)))
    b.store(_page_head(b, control, physical), kept.get())
    b.store(code_map_slot(b, physical), code_map.get())
    with b.If(killed.get() == 0):
        begin_row(b, control, physical)
        with _Blocks(b, control, physical) as found:
            add_code(b, control, found.begin, found.span.trunc(32))


@dataclass
class _Found:
    """A block with code from a page, of whose list `entry` is; `link` has the next entry. i64 where it is no pointer:
    it has the `span` bytes from physical address `begin` on.
    """

    entry: Value
    block: Value
    link: Value
    begin: Value
    span: Value


@contextmanager
def _Blocks(b: NativeContext, control: Value, physical: Value) -> Iterator[_Found]:  # noqa: N802, it reads as b.Loop
    """For each block of a page. The body may store to its link."""
    page = physical & -PAGE
    entry = b.local(32, b.load(_page_head(b, control, physical), 32))
    with b.Loop() as loop:
        current = entry.get()
        loop.break_if(current == 0)
        block = _block_at(b, control, current & (SECOND_LINK - 1))
        is_second = (current & SECOND_LINK) != 0
        link = b.select(is_second, BLOCK.pointer(block, "page2_next"), BLOCK.pointer(block, "page_next"))
        following = b.load(link, 32)
        start = BLOCK.get(b, block, "physical")
        length = BLOCK.get(b, block, "bytes").zext(64)
        on_first = b.const(PAGE, 64) - (start & (PAGE - 1))
        begin = b.select(is_second, page, start)
        yield _Found(current, block, link, begin, b.select(is_second, length - on_first, length))
        entry.set(following)


def _kill(b: NativeContext, control: Value, block: Value) -> None:
    BLOCK.put(b, block, "dead", 1)
    CONTROL.count(b, control, "blocks_killed")
    records = BLOCK.get_pointer(b, block, "records")
    count = BLOCK.get(b, block, "count").zext(64)
    stale = _for_mode(b, control, "stale_handler", BLOCK.get(b, block, "mode").zext(64))
    with b.Range(count + 1) as i:  # the chain record behind the last one too
        RECORD.put(b, records + (i * RECORD_BYTES), "handler", stale)
    # unlink from the hash chain, so that dead blocks are not walked over for ever
    slot = b.local(PTR, _hash_slot(b, control, BLOCK.get(b, block, "physical"), BLOCK.get(b, block, "mode").zext(64)))
    with b.Loop() as loop:
        number = b.load(slot.get(), 32)
        loop.break_if(number == 0)
        candidate = _block_at(b, control, number)
        with b.If(candidate == block):
            b.store(slot.get(), BLOCK.get(b, block, "hash_next"))
            loop.break_()
        slot.set(BLOCK.pointer(candidate, "hash_next"))
    b.call(FORGET_TRANSLATION, b.cpu, block)


RUNTIME: tuple[tuple[Signature, Body], ...] = (
    (FIND_BLOCK, _find_block),
    (GATHER, _gather),
    (MAKE_BLOCK, lambda b: _BlockMaker(b).build()),
    (CODE_WRITTEN, _code_written),
)
