"""What views ask of the host, in generated code: rights, mappings, and an end of it all where it refuses."""

from __future__ import annotations

from bt.codegen.builder import Builder
from bt.codegen.value import Value
from bt.memory.host_mmu.layout import GUARD_BEHIND_BYTES, PAGED_VIEW, PAGED_VIEW_BYTES, PAGED_VIEWS, VIEW_BYTES
from bt.x86.context import Context

# Linux x86-64.
_MMAP, _MPROTECT, _MUNMAP = 9, 10, 11
READ, READ_WRITE = 1, 3
_SHARED, _PRIVATE, _FIXED, _ANONYMOUS, _NORESERVE = 1, 2, 0x10, 0x20, 0x4000


def system_call(
    b: Builder, number: int, first: Value, second: Value, third: Value, fourth: Value, *more: Value
) -> Value:
    """One of Linux with up to four arguments, or six (i64), i64; negative: an error."""
    inputs = "{rax},{rdi},{rsi},{rdx},{r10}" + ",{r8},{r9}" * bool(more)
    return b.asm(
        "syscall",
        f"={{rax}},{inputs},~{{rcx}},~{{r11}},~{{memory}}",
        "i64",
        b.const(number, 64), first, second, third, fourth, *more,
    )  # fmt: skip


def change_rights(b: Context, at: Value, size: Value, rights: int) -> None:
    """Change rights, or have no view any more where the host refuses: it has limits."""
    with b.If(b.get("unpaged_view") != 0):  # else they have been given up a moment ago
        status = system_call(b, _MPROTECT, at, size, b.const(rights, 64), b.const(0, 64))
        with b.Unlikely(status != 0):
            give_up(b)


def map_file(b: Context, at: Value, size: Value, rights: Value, fd: Value, offset: Value) -> None:
    """Put part of a file there, shared, whatever was there; or have no view any more."""
    _map(b, at, size, rights, b.const(_SHARED | _FIXED, 64), fd, offset)


def map_nothing(b: Context, at: Value, size: Value) -> None:
    """Have nothing there; or no view any more."""
    flags = b.const(_PRIVATE | _ANONYMOUS | _NORESERVE | _FIXED, 64)
    _map(b, at, size, b.const(0, 64), flags, b.const(-1, 64), b.const(0, 64))


def _map(b: Context, at: Value, size: Value, *more: Value) -> None:
    with b.If(b.get("unpaged_view") != 0):  # else there is nothing any more at these addresses that is ours
        status = system_call(b, _MMAP, at, size, *more)
        with b.Unlikely(status != at):
            give_up(b)


def give_up(b: Context) -> None:
    """Have no view any more."""
    zero, whole = b.const(0, 64), b.const(VIEW_BYTES + GUARD_BEHIND_BYTES, 64)
    system_call(b, _MUNMAP, b.get("unpaged_view"), whole, zero, zero)
    with b.Range(PAGED_VIEWS * PAGED_VIEW_BYTES, step=PAGED_VIEW_BYTES) as at:
        noted = b.get_pointer("paged_views") + at
        system_call(b, _MUNMAP, PAGED_VIEW.get(b, noted, "address"), whole, zero, zero)
        for name in ("address", "count"):
            PAGED_VIEW.put(b, noted, name, 0)
    for name in ("view", "unpaged_view", "view_open", "view_wanted", "heat_limit"):
        b.put(name, 0)
