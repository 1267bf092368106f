"""How the operands of a plan's stencils are given: settled, through a hole, or through T."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bt.engine.interp.variants import Variant
from bt.engine.translator.stencils.context import (
    HoleImmediate,
    KnownMemory,
    ScratchMemory,
    ScratchValue,
    SettledNumber,
    StencilContext,
)
from bt.x86.opcodes import Method
from bt.x86.operands import Constant, NamedRegister

Index = tuple[int, int, int]  # register numbers rm and reg, count


@dataclass(frozen=True)
class Shape:
    """How one operand of a plan's stencils is given, and which.

    Kinds: r (register), m (memory), a (memory at a known address), i (immediate), k (known immediate), t, j (target),
    s (an element of a string: its meaning reads and writes it by the index register), c (control register).
    """

    kind: str
    width: int
    source: str = ""  # "rm", "reg" or "fixed" for a register
    number: int = 0

    @property
    def is_known_count(self) -> bool:
        return self.kind == "k" and not self.number

    def name(self, rm: int, reg: int, count: int) -> str:
        number = {"rm": rm, "reg": reg}.get(self.source, self.number)
        return f"{self.kind}{self.width}" + f"_{count if self.is_known_count else number}" * (self.kind in "rkc")

    def operand(self, b: StencilContext, rm: int, reg: int, count: int) -> Any:
        match self.kind:
            case "r":
                return NamedRegister(b, self.width, {"rm": rm, "reg": reg}.get(self.source, self.number))
            case "c":
                return SettledNumber(reg)
            case "m" | "s":
                return ScratchMemory(b, self.width)
            case "a":
                return KnownMemory(b, self.width)
            case "t":
                return ScratchValue(b, self.width)
            case "k":
                return Constant(b, self.width, self.number or count)
            case "j":
                return HoleImmediate(b, 32, "TARGET")
            case _:
                return HoleImmediate(b, self.width)


def shapes_of(variant: Variant) -> list[Shape] | None:
    """Shapes of a variant's operands; None when one of them has none."""
    shapes = []
    for operand in variant.form.operands:
        width = variant.width_of(operand)
        match operand.method:
            case Method.REGISTER_OR_MEMORY if not variant.memory:
                shapes.append(Shape("r", width, "rm"))
            case Method.REGISTER_OR_MEMORY | Method.MEMORY_ONLY | Method.OFFSET:
                shapes.append(Shape("m", width))
            case Method.OPCODE_REGISTER | Method.REGISTER_RM:
                shapes.append(Shape("r", width, "rm"))
            case Method.REGISTER:
                shapes.append(Shape("r", width, "reg"))
            case Method.CONTROL_REGISTER:
                shapes.append(Shape("c", width, "reg"))
            case Method.FIXED_REGISTER:
                shapes.append(Shape("r", width, "fixed", operand.number))
            case Method.SOURCE_STRING | Method.DESTINATION_STRING:
                shapes.append(Shape("s", width))
            case Method.ONE:
                shapes.append(Shape("k", width, "", 1))
            case Method.RELATIVE:
                shapes.append(Shape("j", 32))
            case Method.IMMEDIATE:
                shapes.append(Shape("i", width))
            case _:
                return None
    return shapes


def indexes(shapes: list[Shape]) -> Iterator[Index]:
    """All (rm, reg, count) that select different stencils, in index order."""
    uses = {s.source for s in shapes}
    for count in range(32) if any(s.is_known_count for s in shapes) else range(1):
        for rm in range(8) if "rm" in uses else range(1):
            for reg in range(8) if "reg" in uses else range(1):
                yield rm, reg, count


def strides(shapes: list[Shape]) -> Index:
    """How far apart stencils are in the index that differ in rm, reg, count; 0 where they do not differ."""
    uses = {s.source for s in shapes}
    reg = 1 if "reg" in uses else 0
    rm = (8 if "reg" in uses else 1) if "rm" in uses else 0
    return rm, reg, (8 if "rm" in uses else 1) if any(s.is_known_count for s in shapes) else 0
