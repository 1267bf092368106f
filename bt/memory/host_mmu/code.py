"""Views in generated code: when one may be used, and which of its pages may be written.

A page of a view can be written when stores to it need no attention: it holds no code, the dirty log has it already,
and it is no ROM. All others are read-only, or not there; what they stop comes by the slow path. Without paging a view
has all of memory from the start; with it, what was walked to since its translations were last forgotten (paged.py).
"""

from __future__ import annotations

from bt.codegen.abi import Signature, native
from bt.codegen.value import PTR, Value
from bt.memory.access import ACCESS_CODE, Body, NativeContext
from bt.memory.host_mmu.host import READ, READ_WRITE, change_rights
from bt.memory.host_mmu.layout import PAGED_VIEW, VIEW_BYTES
from bt.memory.host_mmu.paged import (
    FLUSH_PAGED,
    FLUSH_PAGED_AT,
    OPEN_PAGED,
    PROTECT_PAGED,
    emit_flush_paged,
    emit_flush_paged_at,
    emit_open_paged,
    emit_protect_paged,
)
from bt.memory.host_mmu.result import ATTENTION, OPENED
from bt.memory.physical import PhysicalPage, code_map_slot, mark_dirty
from bt.x86 import mode, services
from bt.x86.context import Context
from bt.x86.page import PAGE
from bt.x86.state import CS
from bt.x86.system.operating_mode import is_long_mode, is_paging

# Let accesses to a page of the view through, if they need no attention: linear address, write. See result.py.
OPEN_PAGE = native("open_page", PTR, "i32", "i32")

_ALL_LINES = -1


def choose_rights(b: Context, user: Value, checked: Value, watched: Value) -> None:
    """What a change of mode means for accesses, through the views too (see AccessCode)."""
    ACCESS_CODE.choose_rights(b, user, checked, watched)
    usable = view_usable(b)
    b.put("heat_limit", b.select(usable, b.get("heat_wanted"), 0))
    with b.Unlikely(b.get("unpaged_view") != 0):
        _use_view(b, b.select(is_paging(b), _paged_view(b, user), b.get("unpaged_view")))
        flat = _flat_branch_table(b, user)
        by_paragraph = b.get("branch_tables", 2) + (b.get_segment(CS, "base").zext(64) << mode.PARAGRAPH_SLOTS_SHIFT)
        b.put("branch_table", b.select((b.get("mode") & mode.PARAGRAPHS) != 0, by_paragraph, flat))
    b.put("view_open", usable & (b.get("view") != 0))


def switch_rights(b: Context, user: Value) -> None:
    """The same where only the level has changed, in flat code (see AccessCode): so views are as usable as before."""
    ACCESS_CODE.switch_rights(b, user)
    with b.Unlikely(b.get("unpaged_view") != 0):
        b.put("branch_table", _flat_branch_table(b, user))
        with b.If(is_paging(b)):
            view = _paged_view(b, user)
            _use_view(b, view)
            b.put("view_open", view_usable(b) & (view != 0))


def _paged_view(b: Context, user: Value) -> Value:
    """Host address of the view for a level with paging; 0: there is none."""
    view = b.select(user, b.get("user_view"), b.get("paged_views")).to_pointer()
    return PAGED_VIEW.get(b, view, "address")


def _use_view(b: Context, view: Value) -> None:
    with b.If(view != b.get("view")):  # it takes 12 ns
        b.put("view", view)
        b.asm("wrgsbase $0", "r", "void", view)


def _flat_branch_table(b: Context, user: Value) -> Value:
    return b.load(b.slot("branch_tables") + (user.zext(64) << 3), 64)


def view_usable(b: Context) -> Value:
    """Whether accesses in the present mode could go through a view, i1."""
    key = b.get("mode")
    usable = ((key & mode.FLAT) == mode.FLAT) | ((key & mode.REAL_16) == mode.REAL_16)
    usable = usable & (b.get("view_wanted") != 0)
    usable = usable & ~is_long_mode(b)  # code may come and go to 64-bit mode, whose addresses views have not
    usable = usable & (~is_paging(b) | (b.get("paged_view_rests") == 0))
    return usable & (b.get("a20_mask") == _ALL_LINES)


def protect_views(b: NativeContext, first: Value, size: Value) -> None:
    """The views' part of PROTECT: physical address and bytes, all of them memory, or none.

    Where there is none nothing is mapped, and it stays so: code may be fetched from there, though.
    """
    view = b.get("unpaged_view")
    with b.Unlikely(view != 0), b.If(PhysicalPage(b, first).is_memory):
        with b.If(first.ult(VIEW_BYTES)):
            end = b.intrinsic("umin", "i64", first + size, b.const(VIEW_BYTES, 64))
            change_rights(b, view + first, end - first, READ)
        b.call(PROTECT_PAGED, b.cpu, first, size)


def flush_views(b: NativeContext, keep_global: Value) -> None:
    """The views' part of FLUSH_TLB (`keep_global`, i1), and that of the ways that lead through them."""
    with b.Unlikely(b.get("unpaged_view") != 0):
        b.call(FLUSH_PAGED, b.cpu, keep_global.zext(32))
        b.call(services.FORGET_WAYS, b.cpu, keep_global.zext(32))


def flush_views_at(b: NativeContext, linear: Value) -> None:
    """The same of INVALIDATE_PAGE."""
    with b.Unlikely(b.get("unpaged_view") != 0):
        with b.If(b.get("paged_view_used") != 0):
            b.call(FLUSH_PAGED_AT, b.cpu, linear.trunc(32))
        b.call(services.FORGET_WAYS_AT, b.cpu, linear.trunc(32))


def _open_page(b: NativeContext) -> None:
    _, linear, write = b.arguments
    with b.If(is_paging(b)):
        b.ret(b.call(OPEN_PAGED, b.cpu, linear, write))
    physical = linear.zext(64) & -PAGE
    plain = PhysicalPage(b, physical).is_writable & (b.load(code_map_slot(b, physical), 64) == 0)
    with b.If((write == 0) | ~plain):
        b.ret(ATTENTION)
    mark_dirty(b, physical)
    change_rights(b, b.get("unpaged_view") + physical, b.const(PAGE, 64), READ_WRITE)
    b.ret(OPENED)


RUNTIME: tuple[tuple[Signature, Body], ...] = (
    (OPEN_PAGE, _open_page),
    (OPEN_PAGED, emit_open_paged),
    (FLUSH_PAGED, emit_flush_paged),
    (FLUSH_PAGED_AT, emit_flush_paged_at),
    (PROTECT_PAGED, emit_protect_paged),
)
