"""The view in generated code: when it may be used, and which of its pages may be written.

A page of the view can be written when stores to it need no attention: it holds no code, the dirty log has it already,
and it is no ROM. All others are read-only, or not there; what they stop comes by the slow path.
"""

from __future__ import annotations

from bt.codegen.abi import Signature, native
from bt.codegen.builder import Builder
from bt.codegen.value import PTR, Value
from bt.memory.access import ACCESS_CODE, Body, NativeContext
from bt.memory.host_mmu.layout import GUARD_BYTES, VIEW_BYTES
from bt.memory.physical import PhysicalPage, code_map_slot, mark_dirty
from bt.x86 import mode
from bt.x86.context import FAULT, OK, Context
from bt.x86.page import PAGE
from bt.x86.system.registers.control_registers import CR0_PG

# Let stores to a page of the view through, if they need no attention: linear address. FAULT: they do.
OPEN_PAGE = native("open_page", PTR, "i32")

_ALL_LINES = -1
_MPROTECT, _MUNMAP = 10, 11  # Linux x86-64
_READ, _READ_WRITE = 1, 3


def system_call(b: Builder, number: int, first: Value, second: Value, third: Value, fourth: Value) -> Value:
    """One of Linux with up to four arguments (i64), i64; negative: an error."""
    return b.asm(
        "syscall",
        "={rax},{rax},{rdi},{rsi},{rdx},{r10},~{rcx},~{r11},~{memory}",
        "i64",
        b.const(number, 64), first, second, third, fourth,
    )  # fmt: skip


def choose_rights(b: Context, user: Value, checked: Value, watched: Value) -> None:
    """What a change of mode means for accesses, through the view too (see AccessCode)."""
    ACCESS_CODE.choose_rights(b, user, checked, watched)
    usable = view_usable(b)
    b.put("heat_limit", b.select(usable, b.get("heat_wanted"), 0))
    b.put("view_open", usable & (b.get("view") != 0))


def view_usable(b: Context) -> Value:
    """Whether accesses in the present mode could go through a view, i1."""
    usable = ((b.get("mode") & mode.FLAT) == mode.FLAT) & (b.get("view_wanted") != 0)
    return usable & ((b.get("cr0") & CR0_PG) == 0) & (b.get("a20_mask") == _ALL_LINES)


def protect_view(b: NativeContext, first: Value, size: Value) -> None:
    """The view's part of PROTECT: physical address and bytes, all of them memory, or none.

    Where there is none nothing is mapped, and it stays so: code may be fetched from there, though.
    """
    view = b.get("view")
    with b.Unlikely((view != 0) & first.ult(VIEW_BYTES)), b.If(PhysicalPage(b, first).is_memory):
        end = b.intrinsic("umin", "i64", first + size, b.const(VIEW_BYTES, 64))
        _change(b, view + first, end - first, _READ)


def _change(b: NativeContext, at: Value, size: Value, rights: int) -> None:
    """Change rights, or have no view any more where the host refuses: it has limits."""
    status = system_call(b, _MPROTECT, at, size, b.const(rights, 64), b.const(0, 64))
    with b.Unlikely(status != 0):
        base, zero = b.get("view"), b.const(0, 64)
        system_call(b, _MUNMAP, base, b.const(VIEW_BYTES + GUARD_BYTES, 64), zero, zero)
        for name in ("view", "view_open", "view_wanted", "heat_limit"):
            b.put(name, 0)


def _open_page(b: NativeContext) -> None:
    linear = b.arguments[1]
    physical = linear.zext(64) & -PAGE
    plain = PhysicalPage(b, physical).is_writable & (b.load(code_map_slot(b, physical), 64) == 0)
    with b.If(~plain):
        b.ret(FAULT)
    mark_dirty(b, physical)
    _change(b, b.get("view") + physical, b.const(PAGE, 64), _READ_WRITE)
    b.ret(OK)


RUNTIME: tuple[tuple[Signature, Body], ...] = ((OPEN_PAGE, _open_page),)
