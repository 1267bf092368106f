"""The soft MMU in generated code: the look into the TLB."""

from __future__ import annotations

from collections.abc import Callable

from bt.codegen.value import PTR, Value
from bt.memory.backend import AccessCode, AccessHoles, HoleContext, Probe
from bt.memory.physical import code_map_slot
from bt.memory.soft_mmu.layout import (
    ADDEND,
    EMPTY,
    ENTRY_MASK,
    ENTRY_SHIFT,
    HOLES,
    PHYSICAL,
    READ_TAG,
    SUPERVISOR,
    SUPERVISOR_64,
    USER,
    WRITE_TAG,
)
from bt.x86 import mode, state
from bt.x86.context import Context
from bt.x86.page import PAGE
from bt.x86.services import WALKED_WRITABLE
from bt.x86.system.operating_mode import in_64_bit_mode, is_long_mode


def entry_offset(linear: Value) -> Value:
    """Byte offset of the TLB entry for a linear address (any width), i64."""
    return (linear.zext(64) >> ENTRY_SHIFT) & ENTRY_MASK


def tag_of(linear: Value) -> Value:
    """The tag of the page that this address is in, of its width."""
    return linear | (PAGE - 1)


def only_code_is_in_the_way(b: Context, entry: Value, linear: Value) -> Value:
    """Whether the page of a linear address (i64), whose entry this is, has been found to be one that may be written to
    but for code in it (i1)."""
    known = b.load(entry + PHYSICAL, 64)
    is_known = (b.load(entry + READ_TAG, 64) == tag_of(linear)) & ((known & WALKED_WRITABLE) != 0)
    has_code = b.local(1, 0)  # most entries are asked in vain, and their maps lie anywhere
    with b.Unlikely(is_known):
        has_code.set(b.load(code_map_slot(b, known), 64) != 0)
    return has_code.get()


def lies_beside_code(b: Context, linear: Value) -> Value:
    """Whether what has just been written to at a linear address (i64) is in a page with code (i1)."""
    return only_code_is_in_the_way(b, b.get_pointer("tlb") + entry_offset(linear), linear)


def _tag(b: Context, write: Value) -> Value:
    """Which tag of an entry (`write`, i1), i64."""
    return b.select(write, b.const(WRITE_TAG, 64), READ_TAG)


def _by_level(b: Context, user: Value) -> Value:
    """Bytes from the supervisor's table to that for `user` (i1), i64."""
    return b.select(user, b.const(state.offset(USER) - state.offset(SUPERVISOR), 64), 0)


class _Holes(AccessHoles):
    def __init__(self, b: Context, fill: Callable[[str, Value], None]) -> None:
        self.b, self.fill = b, fill
        user = (b.get("mode") & mode.USER) != 0
        self.table = _by_level(b, user) + state.offset(SUPERVISOR)
        fill("ADDEND_OFFSET", self.table + ADDEND)

    def access(self, write: Value | int) -> None:
        tag = (READ_TAG, WRITE_TAG)[write] if isinstance(write, int) else _tag(self.b, write != 0)
        self.fill("TAG_OFFSET", self.table + tag)

    def known(self, linear: Value, write: Value) -> None:
        entry = self.table + entry_offset(linear)
        self.fill("ENTRY_TAG", entry + _tag(self.b, write))
        self.fill("ENTRY_ADDEND", entry + ADDEND)
        self.fill("PAGE_TAG", tag_of(linear))


class SoftMmuCode(AccessCode):
    """Two loads and a comparison in front of each access."""

    holes = HOLES

    def probe(
        self, b: Context, linear: Value, size: int | Value, *, write: bool | Value, system: bool = False
    ) -> Probe:
        entry = b.get_pointer("tlb_system" if system else "tlb") + entry_offset(linear)
        further = size.zext(64) - 1 if isinstance(size, Value) else size - 1
        tag = _tag(b, write) if isinstance(write, Value) else (WRITE_TAG if write else READ_TAG)
        hit = tag_of(linear.zext(64) + further) == b.load(entry + tag, 64)
        return Probe(hit, lambda: b.load(entry + ADDEND, PTR) + linear.zext(64))

    def pointer(self, b: HoleContext, linear: Value, size: int | Value, miss: Callable[[], None]) -> Value:
        wide = linear.zext(64)
        place = (wide >> ENTRY_SHIFT) & ENTRY_MASK
        # 32 bits will do: an invalid tag ends in zeros, and an access that wraps meets the entry of the last page
        tag = b.load(b.cpu + b.hole("TAG_OFFSET", 64) + place, 32)
        with b.Unlikely(tag_of(linear + (size - 1)) != tag):
            miss()
        return b.load(b.cpu + b.hole("ADDEND_OFFSET", 64) + place, PTR) + wide

    def known_pointer(self, b: HoleContext, linear: Value, miss: Callable[[], None]) -> Value:
        with b.Unlikely(b.load(b.cpu + b.hole("ENTRY_TAG", 64), 32) != b.hole("PAGE_TAG")):
            miss()
        return b.load(b.cpu + b.hole("ENTRY_ADDEND", 64), PTR) + linear.zext(64)

    def begin_block(self, b: Context, fill: Callable[[str, Value], None]) -> AccessHoles:
        return _Holes(b, fill)

    def choose_rights(self, b: Context, user: Value, checked: Value, watched: Value) -> None:
        # those that are checked find nothing in their table
        supervisor, nothing = b.slot(SUPERVISOR).zext(64), b.slot(EMPTY).zext(64)
        by_level = _by_level(b, user)
        wide = state.offset(SUPERVISOR_64) - state.offset(SUPERVISOR)
        by_code = b.select(in_64_bit_mode(b), b.const(wide, 64), 0)
        by_tables = b.select(is_long_mode(b), b.const(wide, 64), 0)
        b.put("tlb", b.select(checked | watched, nothing, supervisor + by_level + by_code))
        b.put("tlb_system", b.select(watched, nothing, supervisor + by_tables))

    def switch_rights(self, b: Context, user: Value) -> None:
        b.put("tlb", b.slot(SUPERVISOR).zext(64) + _by_level(b, user))
