"""Structures shared between Python and generated code: fields by name, offsets computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bt.codegen.value import PTR, Value

if TYPE_CHECKING:
    from bt.codegen.builder import Builder


class Layout:
    """A C-like structure of naturally aligned fields: (name, width in bits); width 64 also serves host addresses."""

    def __init__(self, fields: Sequence[tuple[str, int]], size: int = 0) -> None:
        self.offsets: dict[str, int] = {}
        self.widths: dict[str, int] = {}
        at = 0
        for name, width in fields:
            step = width // 8
            at = (at + step - 1) // step * step
            self.offsets[name], self.widths[name] = at, width
            at += step
        self.size = size or (at + 7) // 8 * 8
        assert at <= self.size, f"fields take {at} bytes, {self.size} promised"

    def read(self, data: bytes, name: str) -> int:
        """A field of one structure's bytes, in Python."""
        at = self.offsets[name]
        return int.from_bytes(data[at : at + self.widths[name] // 8], "little")

    def pointer(self, base: Value, name: str) -> Value:
        return base + self.offsets[name]

    def get(self, b: Builder, base: Value, name: str) -> Value:
        """Load a field at its own width."""
        return b.load(self.pointer(base, name), self.widths[name])

    def get_pointer(self, b: Builder, base: Value, name: str) -> Value:
        return b.load(self.pointer(base, name), PTR)

    def count(self, b: Builder, base: Value, name: str, amount: Value | int = 1) -> None:
        """Add to a statistic, whose field has 64 bits."""
        self.put(b, base, name, self.get(b, base, name) + (amount if isinstance(amount, int) else amount.zext(64)))

    def put(self, b: Builder, base: Value, name: str, value: Value | int) -> None:
        """Store a field; the value is zero-extended or truncated to its width."""
        width = self.widths[name]
        if isinstance(value, int):
            value = b.const(value, width)
        b.store(self.pointer(base, name), value if value.ty == PTR else value.resize(width))
