"""Canonical addresses: bits 63 to 47 of a 48-bit linear address are all the same (SDM vol. 1 3.3.7.1)."""

from __future__ import annotations

from bt.codegen.value import Value

_HALF = 1 << 47


def is_canonical(address: Value, size: Value | int = 1) -> Value:
    """Whether `size` bytes (up to a page) at an address (i64) are, i1. They may go round from the last one to 0."""
    return (address + _HALF).ule(-size + 2 * _HALF if isinstance(size, Value) else 2 * _HALF - size)
