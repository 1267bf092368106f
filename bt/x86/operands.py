"""Operands that are settled when code is made: the same in every engine."""

from __future__ import annotations

from dataclasses import dataclass

from bt.codegen.value import Value
from bt.x86.context import Context


@dataclass
class NamedRegister:
    """A general register known by number; of width 8, numbers 4-7 are ah ch dh bh."""

    b: Context
    width: int
    number: int
    is_memory = False

    def read(self) -> Value:
        return self.b.reg(self.number, self.width)

    read_for_update = read

    def write(self, value: Value) -> None:
        assert value.width == self.width
        self.b.set_reg(self.number, value)


@dataclass
class Constant:
    """A number that is part of the instruction: the 1 of D1 /4, a shift count that has stencils of its own."""

    b: Context
    width: int
    value: int
    is_memory = False

    def read(self) -> Value:
        return self.b.const(self.value, self.width)
