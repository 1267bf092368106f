"""Stencils that belong to no form: addresses and sources into T, the head of a fragment, far exits."""

from __future__ import annotations

from dataclasses import dataclass

from bt.engine.structures import OPERAND_SIZES
from bt.engine.translator.stencils.catalogue import (
    Catalogue,
    Emit,
)
from bt.engine.translator.stencils.context import (
    Segments,
    StencilContext,
    segment_base,
)
from bt.x86.state import SEGMENT_NAMES

HEAD_COLD = "HEAD_COLD"


@dataclass(frozen=True)
class Helpers:
    """Names of the stencils every translation needs, in index order."""

    absolute: str
    base: tuple[str, ...]  # [base]
    base_displaced: tuple[str, ...]  # [base]
    index: tuple[str, ...]  # [scale * 8 + index]
    base_index: tuple[str, ...]  # [(scale * 8 + base) * 8 + index]
    wrap: str  # T = T modulo 64 KiB
    segment: tuple[str, ...]  # [segment register] x [read, write] x log2(size)
    get: tuple[str, ...]  # T = register [number]
    get_byte: tuple[str, ...]
    segment_real: tuple[str, ...]  # the same for 16-bit offsets where mode.REAL: [segment register] x log2(size)
    load: tuple[str, ...]  # T = dword or word at T
    head: str  # charge the budget
    far_exit: str  # direct transfer to another page
    checked_exit: str  # the same where CS may be too short
    push_return: str


def helpers(catalogue: Catalogue) -> Helpers:
    """Add the helper stencils."""
    add = catalogue.add

    def head(b: StencilContext) -> None:
        b.budget = b.budget - b.hole("COUNT", 64)
        with b.Unlikely(b.budget.slt(0)):
            b.go(HEAD_COLD)

    def get(number: int, width: int) -> Emit:
        def emit(b: StencilContext) -> None:
            b.t = b.reg(number, width).zext(64)

        return emit

    def load(width: int) -> Emit:
        def emit(b: StencilContext) -> None:
            b.t = b.read_linear(b.t.trunc(32), width).zext(64)

        return emit

    def checked_exit(b: StencilContext) -> None:
        target = b.hole("TARGET")
        b.check_target(target)
        b.jump_indirect(target)

    def segment(number: int, size: int, write: bool) -> Emit:
        return lambda b: segment_base(b, number, size, write=write)

    return Helpers(
        absolute="ea_abs",
        base=tuple(f"ea_b{n}" for n in range(8)),
        base_displaced=tuple(f"ea_bd{n}" for n in range(8)),
        index=tuple(f"ea_i{s}{n}" for s in range(4) for n in range(8)),
        base_index=tuple(f"ea_bi{s}{n}{i}" for s in range(4) for n in range(8) for i in range(8)),
        wrap="ea_wrap",
        segment=tuple(
            add(f"ea_seg{n}_{size}_{int(write)}", segment(n, size, write), segments=Segments.ANY)
            for n in range(len(SEGMENT_NAMES[:6]))
            for write in (False, True)
            for size in (1, 2, 4, 8)
        ),
        segment_real=tuple(
            add(f"ea_seg{n}_{size}_real", segment(n, size, False), segments=Segments.REAL)
            for n in range(len(SEGMENT_NAMES[:6]))
            for size in (1, 2, 4, 8)
        ),
        get=tuple(add(f"get{n}", get(n, 32)) for n in range(8)),
        get_byte=tuple(add(f"getb{n}", get(n, 8)) for n in range(8)),
        load=tuple(add(f"load_t{width}", load(width)) for width in OPERAND_SIZES),
        head=add("head", head),
        far_exit=add("far_exit", lambda b: b.jump_indirect(b.hole("TARGET"))),
        checked_exit=add("checked_exit", checked_exit, segments=Segments.ANY),
        push_return=add("push_return", lambda b: b.push_return()),
    )
