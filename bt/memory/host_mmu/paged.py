"""Views of linear memory: one for the CPLs below 3, some for 3. Each is a TLB that the host's MMU looks into.

A page appears at the first access that is not let through, by the walk that any access makes, with the rights that the
soft MMU's entry has then; so accessed and dirty bits are set when they should be. It goes when processors forget
translations: what the guest does not make them forget, they may remember.

A load of CR3 makes them forget, but they may walk to a page again at once if no bit has to be set for it. So views
stay, each with its CR3, and what would be found as it was stays in them: a walk takes some 20 ns, mapping a page 10 us.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.memory.access import NativeContext
from bt.memory.backend import KNOWN_TRANSLATION, NOT_KNOWN, RESOLVE
from bt.memory.host_mmu.host import READ, READ_WRITE, change_rights, map_file, map_nothing
from bt.memory.host_mmu.layout import (
    LARGES,
    LISTED_PAGES,
    MOST_LOOKED_AFTER,
    MOST_MAPPED,
    PAGE_LISTED,
    PAGE_MAPPED,
    PAGED_VIEW,
    PAGED_VIEW_BYTES,
    PAGED_VIEWS,
    PAGES,
    VIEW_BYTES,
)
from bt.memory.host_mmu.result import ATTENTION, NO_TRANSLATION, OPENED
from bt.x86.context import OK
from bt.x86.page import PAGE, REGION_SHIFT
from bt.x86.services import (
    PAGE_WALK,
    WALK_PEEK,
    WALK_USER,
    WALK_WRITE,
    WALKED_GLOBAL,
    WALKED_LARGE,
    WALKED_WRITABLE,
)

OPEN_PAGED = native("open_paged", PTR, "i32", "i32")  # OPEN_PAGE with paging
FLUSH_PAGED = native("flush_paged", PTR, "i32")  # forget all translations, or all but those of global pages
FLUSH_PAGED_AT = native("flush_paged_at", PTR, "i32")  # forget that of a page: linear address in it
PROTECT_PAGED = native("protect_paged", PTR, "i64", "i64")  # physical address, bytes: no writing without us

_PAGE_SHIFT = PAGE.bit_length() - 1
_REGION_PAGES_SHIFT = REGION_SHIFT - _PAGE_SHIFT
_KEPT = WALKED_GLOBAL | WALKED_LARGE | WALKED_WRITABLE


class _View:
    """A PAGED_VIEW in generated code."""

    def __init__(self, b: NativeContext, noted: Value) -> None:
        self.b, self.noted = b, noted

    def get(self, name: str) -> Value:
        return PAGED_VIEW.get(self.b, self.noted, name)

    def put(self, name: str, value: Value | int) -> None:
        PAGED_VIEW.put(self.b, self.noted, name, value)

    def add(self, name: str, amount: Value | int) -> None:
        self.put(name, self.get(name) + amount)

    def page(self, number: Value) -> Value:
        """Where it is noted what is at a page (its number, i32)."""
        return self.noted + PAGES + (number.zext(64) << 3)

    def listed(self, place: Value) -> Value:
        """Where a number of the list is."""
        return self.noted + LISTED_PAGES + (place << 2)

    def at(self, number: Value) -> Value:
        """Host address of a page."""
        return self.get("address") + (number.zext(64) << _PAGE_SHIFT)

    def look_after(self, kind: Value | int) -> None:
        """CR3 has been loaded: unmap what is not as a walk would find it now, without setting any bit in an entry.

        `kind`: WALK_USER or 0 (i32).
        """
        b, kept = self.b, self.b.local(64, 0)
        cr2 = b.get("cr2")
        with b.Range(self.get("count")) as place:
            number = b.load(self.listed(place), 32)
            entry = b.load(self.page(number), 64)
            is_mapped, stays = (entry & PAGE_MAPPED) != 0, b.local(1, 0)
            with b.If(is_mapped):
                stays.set((entry & WALKED_GLOBAL) != 0)
                with b.If(~stays.get()):
                    stays.set(self._is_unchanged(number, entry, kind))
            with b.IfElse(stays.get()) as arm:
                with arm.then():
                    b.store(self.listed(kept.get()), number)
                    kept.set(kept.get() + 1)
                with arm.otherwise():
                    with b.If(is_mapped):
                        self.unmap(number, entry)
                    b.store(self.page(number), b.const(0, 64))
        self.put("count", kept.get())
        b.put("cr2", cr2)

    def _is_unchanged(self, number: Value, entry: Value, kind: Value | int) -> Value:
        b = self.b
        write = b.select((entry & WALKED_WRITABLE) != 0, b.const(WALK_WRITE, 32), 0)
        status = b.call(PAGE_WALK, b.cpu, (number << _PAGE_SHIFT).zext(64), write | kind | WALK_PEEK)
        found = (b.get("memory_value") & -PAGE) | (b.get("walk_flags") & (WALKED_GLOBAL | WALKED_LARGE))
        return (status == OK) & (found == (entry & (-PAGE | WALKED_GLOBAL | WALKED_LARGE)))

    @contextmanager
    def mapped(self) -> Iterator[tuple[Value, Value]]:
        """For each page that is mapped: its number, and what is noted of it (u64)."""
        b = self.b
        with b.Range(self.get("count")) as place:
            number = b.load(self.listed(place), 32)
            entry = b.load(self.page(number), 64)
            with b.If((entry & PAGE_MAPPED) != 0):
                yield number, entry

    def unmap(self, number: Value, entry: Value) -> None:
        """One that is mapped; its number stays on the list."""
        b = self.b
        map_nothing(b, self.at(number), b.const(PAGE, 64))
        b.store(self.page(number), b.const(PAGE_LISTED, 64))
        self.count_large(number, -_flag(entry, WALKED_LARGE))

    def count_large(self, number: Value, change: Value) -> None:
        """So many more pages (i64) of large ones are mapped in the region of a page."""
        where = self._larges(number)
        self.b.store(where, self.b.load(where, 32) + change.trunc(32))

    def has_large(self, number: Value) -> Value:
        """Whether there are any, i1."""
        return self.b.load(self._larges(number), 32) != 0

    def _larges(self, number: Value) -> Value:
        return self.noted + LARGES + ((number >> _REGION_PAGES_SHIFT).zext(64) << 2)

    def unmap_all(self) -> None:
        b = self.b
        map_nothing(b, self.get("address"), b.const(VIEW_BYTES, 64))
        with b.Range(self.get("count")) as place:
            number = b.load(self.listed(place), 32)
            b.store(self.page(number), b.const(0, 64))
            b.store(self._larges(number), b.const(0, 32))
        self.put("count", 0)


def _flag(entry: Value, flag: int) -> Value:
    """1 or 0 (i64)."""
    return (entry >> (flag.bit_length() - 1)) & 1


@contextmanager
def _views(b: NativeContext) -> Iterator[_View]:
    """For each of them, if anything is mapped there."""
    with b.Range(PAGED_VIEWS * PAGED_VIEW_BYTES, step=PAGED_VIEW_BYTES) as at:
        view = _View(b, b.get_pointer("paged_views") + at)
        with b.If(view.get("count") != 0):
            yield view


def emit_open_paged(b: NativeContext) -> None:
    """Body of `open_paged`."""
    _, linear, write = b.arguments
    cr2 = b.get("cr2")
    status = b.call(RESOLVE, b.cpu, linear.zext(64), write, 0)
    with b.If(status != OK):
        b.put("cr2", cr2)  # the access itself raises the fault
        b.ret(NO_TRANSLATION)
    view = _View(b, b.select(b.get("cpl") == 3, b.get("user_view"), b.get("paged_views")).to_pointer())
    offset = (b.get("memory_value") & -PAGE) - view.get("ram")
    known = b.call(KNOWN_TRANSLATION, b.cpu, linear.zext(64))
    writable = (known & WALKED_WRITABLE) != 0
    attention = (b.get("memory_value") == 0) | (known == NOT_KNOWN) | offset.uge(view.get("ram_bytes"))
    with b.If(attention | ((write != 0) & ~writable)):
        b.ret(ATTENTION)
    b.put("paged_view_used", 1)
    number = linear >> _PAGE_SHIFT
    with b.If(((b.load(view.page(number), 64) & PAGE_LISTED) == 0) & (view.get("count") == MOST_MAPPED)):
        view.unmap_all()
    old = b.load(view.page(number), 64)
    with b.If((old & PAGE_LISTED) == 0):
        b.store(view.listed(view.get("count")), number)
        view.add("count", 1)
    view.count_large(number, _flag(known, WALKED_LARGE) - _flag(old, WALKED_LARGE))
    kept = (known & (-PAGE | _KEPT)) | (PAGE_LISTED | PAGE_MAPPED)
    b.store(view.page(number), kept)
    rights = b.select(writable, b.const(READ_WRITE, 64), READ)
    map_file(b, view.at(number), b.const(PAGE, 64), rights, view.get("fd"), offset)
    b.ret(OPENED)


def emit_flush_paged(b: NativeContext) -> None:
    """Body of `flush_paged`."""
    with b.If(b.arguments[1] == 0):
        with _views(b) as view:
            view.unmap_all()
        b.put("paged_view_used", 0)
        b.ret(OK)
    _look_after(_View(b, b.get_pointer("paged_views")), 0)
    _choose_user_view(b)
    _look_after(_View(b, b.get_pointer("user_view")), WALK_USER)


def _look_after(view: _View, kind: int) -> None:
    with view.b.IfElse(view.get("count").ugt(MOST_LOOKED_AFTER)) as arm:
        with arm.then():
            view.unmap_all()
        with arm.otherwise():
            view.look_after(kind)


def _choose_user_view(b: NativeContext) -> None:
    """The one for CR3; if there is none, the one that has not been loaded for the longest time becomes it."""
    cr3, now = b.get("cr3"), b.get("tlb_flushes")
    oldest = b.local(64, b.get("paged_views") + PAGED_VIEW_BYTES)
    found = b.local(1, 0)
    with b.Range(PAGED_VIEWS * PAGED_VIEW_BYTES, PAGED_VIEW_BYTES, step=PAGED_VIEW_BYTES) as at:
        view, other = _View(b, b.get_pointer("paged_views") + at), _View(b, oldest.get().to_pointer())
        with b.If(view.get("cr3") == cr3):
            found.set(1)
            oldest.set(b.get("paged_views") + at)
        with b.If(~found.get() & view.get("loaded_at").ult(other.get("loaded_at"))):
            oldest.set(b.get("paged_views") + at)
    chosen = _View(b, oldest.get().to_pointer())
    with b.If(~found.get()):
        with b.If(chosen.get("count") != 0):
            chosen.unmap_all()
        chosen.put("cr3", cr3)
    chosen.put("loaded_at", now)
    b.put("user_view", oldest.get())


def emit_flush_paged_at(b: NativeContext) -> None:
    """Body of `flush_paged_at`."""
    linear = b.arguments[1]
    number = linear >> _PAGE_SHIFT
    with _views(b) as view:
        entry = b.load(view.page(number), 64)
        with b.If((entry & PAGE_MAPPED) != 0):
            view.unmap(number, entry)
        with b.If(view.has_large(number)), b.Range(1 << _REGION_PAGES_SHIFT) as place:
            other = (number & -(1 << _REGION_PAGES_SHIFT)) + place.trunc(32)
            noted = b.load(view.page(other), 64)
            with b.If((noted & (PAGE_MAPPED | WALKED_LARGE)) == PAGE_MAPPED | WALKED_LARGE):
                view.unmap(other, noted)


def emit_protect_paged(b: NativeContext) -> None:
    """Body of `protect_paged`."""
    _, first, size = b.arguments
    with _views(b) as view, view.mapped() as (number, entry):
        within = ((entry & -PAGE) - first).ult(size) & ((entry & WALKED_WRITABLE) != 0)
        with b.If(within):
            b.store(view.page(number), entry & ~WALKED_WRITABLE)
            change_rights(b, view.at(number), b.const(PAGE, 64), READ)
