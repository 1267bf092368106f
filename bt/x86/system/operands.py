"""Kinds of operands only system instructions have."""

from __future__ import annotations

from typing import Protocol

from bt.codegen.value import Value
from bt.x86.context import Operand


class NumberedRegister(Operand, Protocol):
    """A segment, control or debug register: which one is the question, and may be known only at run time."""

    number: int | Value  # i64


class FarPointer(Operand, Protocol):
    """selector:offset in the instruction. `read` gives the offset as i32."""

    def read_at(self, displacement: int, width: int) -> Value:
        """Part of the pointer as in memory: the offset, then the 16-bit selector `operand_size` bits above it."""
        ...
