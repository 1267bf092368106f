"""The translation mode: everything beside its bytes that decides what guest code means.

A block is translated for one mode and never runs in another. The key is a small integer, because it is part of every
entry of the branch caches; it is derived from the state by the runtime function `update_mode` alone.
"""

from __future__ import annotations

from collections.abc import Callable

from bt.codegen.value import Value
from bt.x86 import flags, state
from bt.x86.context import Context
from bt.x86.services import BEGIN_EPOCH
from bt.x86.state import BRANCH_CACHE_ENTRY_BYTES, CS, DS, ES, SS
from bt.x86.system.registers.control_registers import (
    CR0_AM,
    DR7_ENABLED,
)

CODE_32 = 1 << 0  # CS.D: default operand and address size
STACK_32 = 1 << 1  # SS.B
USER = 1 << 2  # CPL 3: with which rights translated code accesses memory
FLAT_CS, FLAT_SS, FLAT_DS, FLAT_ES = 1 << 3, 1 << 4, 1 << 5, 1 << 6  # base 0, everything readable and writable
ALIGNMENT_FREE = 1 << 7  # data accesses of any alignment are good: clear at CPL 3 with CR0.AM and EFLAGS.AC
BREAKPOINT_FREE = 1 << 8  # DR7 enables no breakpoint
# Flat 32-bit code and stack, nothing checked: what the translator knows.
FLAT = CODE_32 | STACK_32 | FLAT_CS | FLAT_SS | FLAT_DS | FLAT_ES | ALIGNMENT_FREE | BREAKPOINT_FREE
MODE_BITS = 12
EPOCH_BITS = 32 - MODE_BITS

FLAT_BIT = {ES: FLAT_ES, CS: FLAT_CS, SS: FLAT_SS, DS: FLAT_DS}


def _flat(b: Context, segment: int) -> Value:
    part = "read" if segment == CS else "write"
    whole = b.get_segment(segment, f"{part}_low") == 0
    whole = whole & (b.get_segment(segment, f"{part}_high") == state.WHOLE_LIMIT)
    return whole & (b.get_segment(segment, "read_high") == state.WHOLE_LIMIT) & (b.get_segment(segment, "base") == 0)


def emit_begin_epoch(b: Context) -> None:
    """Body of `begin_epoch`."""
    epoch = b.get("epoch") + 1
    b.put("epoch", epoch)
    with b.Unlikely((epoch & ((1 << EPOCH_BITS) - 1)) == 0):
        # tags have the low bits of the number only: an entry this old would match again
        for cache, entries in (
            ("branch_cache", state.BRANCH_CACHE_ENTRIES),
            ("record_cache", state.BRANCH_CACHE_ENTRIES),
            ("return_stack", state.RETURN_STACK_ENTRIES),
        ):
            with b.Range(entries * BRANCH_CACHE_ENTRY_BYTES, step=BRANCH_CACHE_ENTRY_BYTES) as at:
                b.store(b.slot(cache) + at, b.const(-1, 64))


def emit_update_mode(b: Context, choose_rights: Callable[[Context, Value, Value, Value], None]) -> None:
    """Body of `update_mode`: mode key, rights of memory accesses, tag of the branch caches.

    `choose_rights`: emits what memory wants to know of it (`AccessCode`, bt/memory/backend.py).

    The caches are searched by EIP, so that another base of CS makes all that is in them useless, and another limit may.
    """
    user = b.get("cpl") == 3
    mode = user.zext(64) * USER
    for segment, bit in FLAT_BIT.items():
        mode = mode | (_flat(b, segment).zext(64) * bit)
    for segment, bit in ((CS, CODE_32), (SS, STACK_32)):
        big = (b.get_segment(segment, "attributes") & state.ATTR_BIG) != 0
        mode = mode | (big.zext(64) * bit)
    may_check = user & ((b.get("cr0") & CR0_AM) != 0)
    checked = may_check & ((b.get("eflags_system") & flags.AC) != 0)
    mode = mode | ((~checked).zext(64) * ALIGNMENT_FREE)
    debugging = (b.get("dr", 7) & DR7_ENABLED) != 0
    mode = mode | ((~debugging).zext(64) * BREAKPOINT_FREE)
    b.put("debugging", debugging)
    b.put("mode", mode)
    b.put("fp_ready", 0)  # CR0 and CR4 have a say in it
    choose_rights(b, user, checked, debugging)
    code_segment = b.get_segment(CS, "base") | (b.get_segment(CS, "limit") << 32)
    with b.Unlikely(code_segment != b.get("code_segment")):
        b.put("code_segment", code_segment)
        b.call(BEGIN_EPOCH, b.cpu)
    b.put("code_tag", ((b.get("epoch") << MODE_BITS) | mode) << 32)
