"""The hidden part of a segment register, computed in Python: for reset, loaders and tests."""

from __future__ import annotations

from bt.x86 import state
from bt.x86.state import CpuState

_CODE, _EXPAND_DOWN_OR_CONFORMING, _WRITABLE_OR_READABLE = 1 << 3, 1 << 2, 1 << 1
_EMPTY = (1, 0)  # low above high: no access


def fill(
    cpu: CpuState, number: int, *, selector: int, base: int, limit: int, access: int, big: bool, long: bool = False
) -> None:
    """Set a segment register. `limit` in bytes, last valid offset; `access` is byte 5 of a descriptor, `big` and `long`
    its flags D/B and L.
    """
    attributes = access | (state.ATTR_BIG if big else 0) | (state.ATTR_GRANULAR if limit > 0xFFFFF else 0)
    attributes |= state.ATTR_LONG if long else 0
    is_segment = bool(access & state.ATTR_CODE_OR_DATA) and bool(access & state.ATTR_PRESENT)
    is_code = bool(access & _CODE)
    reach = (0, state.WHOLE_LIMIT if limit == 0xFFFFFFFF else limit)
    if not is_code and access & _EXPAND_DOWN_OR_CONFORMING:
        reach = (limit + 1, 0xFFFFFFFF if big else 0xFFFF)  # SDM vol. 3A 5.3: the offsets a limit leaves out
    readable = is_segment and (not is_code or bool(access & _WRITABLE_OR_READABLE))
    writable = is_segment and not is_code and bool(access & _WRITABLE_OR_READABLE)
    read_low, read_high = reach if readable else _EMPTY
    write_low, write_high = reach if writable else _EMPTY
    for part, value in (
        ("base", base),
        ("read_low", read_low),
        ("read_high", read_high),
        ("write_low", write_low),
        ("write_high", write_high),
        ("selector", selector),
        ("limit", limit),
        ("attributes", attributes),
    ):
        cpu.set_segment(number, part, value)
