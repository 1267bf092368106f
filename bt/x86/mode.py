"""The translation mode: everything beside its bytes that decides what guest code means.

A block is translated for one mode and never runs in another. The key is a small integer, because it is part of every
entry of the branch caches; it is derived from the state by the runtime function `update_mode` alone.
"""

from __future__ import annotations

from bt.codegen.builder import Value
from bt.x86 import state
from bt.x86.context import Context
from bt.x86.state import CS, DS, ES, SS

CODE_32 = 1 << 0  # CS.D: default operand and address size
STACK_32 = 1 << 1  # SS.B
USER = 1 << 2  # CPL 3: which TLB translated code uses
FLAT_CS, FLAT_SS, FLAT_DS, FLAT_ES = 1 << 3, 1 << 4, 1 << 5, 1 << 6  # base 0, everything readable and writable
MODE_BITS = 12

FLAT_BIT = {ES: FLAT_ES, CS: FLAT_CS, SS: FLAT_SS, DS: FLAT_DS}


def _flat(b: Context, segment: int) -> Value:
    part = "read" if segment == CS else "write"
    whole = b.get_segment(segment, f"{part}_low") == 0
    whole = whole & (b.get_segment(segment, f"{part}_high") == state.WHOLE_LIMIT)
    return whole & (b.get_segment(segment, "read_high") == state.WHOLE_LIMIT) & (b.get_segment(segment, "base") == 0)


def emit_update_mode(b: Context) -> None:
    """Body of `update_mode`: mode key, TLB table of the privilege level, tag of the branch caches."""
    user = b.get("cpl") == 3
    mode = user.zext(64) * USER
    for segment, bit in FLAT_BIT.items():
        mode = mode | (_flat(b, segment).zext(64) * bit)
    for segment, bit in ((CS, CODE_32), (SS, STACK_32)):
        big = (b.get_segment(segment, "attributes") & state.ATTR_BIG) != 0
        mode = mode | (big.zext(64) * bit)
    b.put("mode", mode)
    b.put("tlb", b.select(user, b.slot("tlb_user").zext(64), b.slot("tlb_supervisor").zext(64)))
    b.put("code_tag", ((b.get("epoch") << MODE_BITS) | mode) << 32)
