"""Which stencils make up each instruction form: every plan, from opcode table, meanings and choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bt.engine.interp.variants import Variant, variants
from bt.engine.meaning import meaning_function
from bt.engine.translator.plan import choices
from bt.engine.translator.plan.plan import Ending, Linear, Plan, Pre, ending_of, linear_of
from bt.engine.translator.plan.shapes import Index, Shape, indexes, shapes_of, strides
from bt.engine.translator.stencils.catalogue import Catalogue
from bt.engine.translator.stencils.context import Segments, StencilContext
from bt.engine.translator.stencils.recording import Effects, record
from bt.x86 import flags
from bt.x86.opcodes import FORMS
from bt.x86.opcodes.fp import is_fp
from bt.x86.state import ESP

_ANY_INDEX: Index = (1, 2, 3)  # different registers, neither of them ESP or EBP


def build_plans(catalogue: Catalogue, *, segments: Segments = Segments.FLAT) -> list[Plan]:
    """Every plan for code in such segments; the stencils in them are added to the catalogue."""
    found = (_plan(catalogue, variant, segments) for form in FORMS for variant in variants(form))
    return [plan for plan in found if plan is not None]


def _effects(variant: Variant, shapes: list[Shape]) -> Effects | None:
    """What a variant does; None if only the interpreter can do it."""
    form = variant.form
    meaning = meaning_function(form.meaning)
    return record(
        lambda b: meaning(b, *(s.operand(b, *_ANY_INDEX) for s in shapes)),
        operand_size=variant.operand_size,
        condition_code=form.condition or 0,
    )


def _split_pair(shapes: list[Shape]) -> Pre:
    """Move the source of a register pair into T."""
    places = [n for n, s in enumerate(shapes) if s.source in ("rm", "reg")]
    if len(places) < 2:
        return Pre.NONE
    source = shapes[places[1]]
    shapes[places[1]] = Shape("t", source.width)
    return Pre.GET_REG if source.source == "reg" else Pre.GET_RM


def _plan(catalogue: Catalogue, variant: Variant, segments: Segments) -> Plan | None:
    form = variant.form
    # whether the mode has the instruction is asked by the interpreter's handlers only
    if is_fp(form) or variant.rep is not None or form.modes != "any":
        return None
    shapes = shapes_of(variant)
    effects = None if shapes is None else _effects(variant, shapes)
    if shapes is None or effects is None or not choices.is_worth_stencils(variant, effects, segments):
        return None
    ending = ending_of(effects)
    accesses = effects.accesses
    pre = Pre.NONE
    if variant.memory and len(accesses) + (ending is Ending.INDIRECT) > 1:
        if accesses[0].register is not None:
            return None  # two accesses, and what is read first is not the operand (POP)
        pre, shapes = Pre.LOAD, [Shape("t", variant.operand_size)]
    elif len(accesses) > 1:
        return None
    elif any(s.kind == "m" for s in shapes):
        pre = Pre.ADDRESS
    if choices.has_known_counts(variant, shapes):
        shapes[1] = Shape("k", shapes[1].width)
    if pre is not Pre.LOAD and not choices.has_pairs(variant, shapes):
        pre = _split_pair(shapes) or pre
    if ending is Ending.INDIRECT and effects.calls and pre is Pre.NONE:
        pre, shapes = Pre.GET_RM, [Shape("t", variant.operand_size)]  # shares the stencil of a target in memory
    family = _Family(catalogue, variant, effects, segments)
    live, dead, fused = family.all(shapes)
    absolute: tuple[str, ...] = ()
    if pre is Pre.ADDRESS and choices.has_absolute(variant):
        absolute = sum(family.all([replace(s, kind="a") if s.kind == "m" else s for s in shapes]), ())
    stride_rm, stride_reg, stride_count = strides(shapes)
    return Plan(
        variant,
        effects,
        live=live,
        dead=dead,
        fused=fused,
        absolute=absolute,
        stride_rm=stride_rm,
        stride_reg=stride_reg,
        stride_count=stride_count,
        stride_address=len(live) // 2 if family.counts else 0,
        pre=pre,
        linear=linear_of(accesses[-1]) if accesses else Linear.NONE,
        size=accesses[-1].size if accesses else 0,
        write=bool(accesses) and accesses[-1].write,
    )


@dataclass
class _Family:
    """Names and builds the stencils of one variant."""

    catalogue: Catalogue
    variant: Variant
    effects: Effects
    segments: Segments

    @property
    def counts(self) -> bool:
        """Whether it goes by CX or ECX, as the address size says."""
        return self.variant.form.meaning in choices.COUNTS

    @property
    def _asks_segments(self) -> bool:
        """Whether a segment's base or limit is its business: the stack's, or that of code for a target in a register.

        Operands come as linear addresses, and the emitter looks at the targets of other transfers.
        """
        stack = any(access.register is not None for access in self.effects.accesses)
        indirect = self.effects.jumps and not self.effects.direct
        commits = self.effects.jumps and self.effects.sets_register  # it looks at the target before
        return self.segments is not Segments.FLAT and (stack or indirect or commits)

    def all(self, shapes: list[Shape]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """The stencils: with flags, without (none where there are no flags), fused with each Jcc."""
        every = list(indexes(shapes))
        has_flags = bool(self.variant.form.changes_mask & flags.ARITHMETIC)
        fuses = choices.fuses(self.variant, shapes, self.effects)
        live = tuple(self._stencil(shapes, i, live=True) for i in every)
        if self.counts:
            live += tuple(self._stencil(shapes, i, live=True, address_size=16) for i in every)
        return (
            live,
            tuple(self._stencil(shapes, i, live=False) for i in every) if has_flags else (),
            tuple(self._fused(shapes, i, code) for i in every for code in range(16)) if fuses else (),
        )

    def _name(self, shapes: Sequence[Shape], index: Index) -> str:
        form = self.variant.form
        code = "" if form.condition is None else f"{form.condition:x}"
        parts = [form.meaning.replace(".", "_") + code, str(self.variant.operand_size)]
        return "_".join(
            [*parts, *(s.name(*index) for s in shapes), *([self.segments.value] if self._asks_segments else [])]
        )

    def _attributes(self, live: bool, address_size: int = 32) -> dict[str, Any]:
        form, ending = self.variant.form, ending_of(self.effects)
        pops = any(access.register == ESP and not access.write for access in self.effects.accesses)
        return {
            "operand_size": self.variant.operand_size,
            "condition_code": form.condition or 0,
            "address_size": address_size,
            "segments": self.segments if self._asks_segments else Segments.FLAT,
            "flags_live": live,
            "exit_follows": ending is Ending.JUMP,
            "returns": ending is Ending.INDIRECT and pops,
        }

    def _emit(self, b: StencilContext, shapes: Sequence[Shape], index: Index) -> None:
        meaning_function(self.variant.form.meaning)(b, *(s.operand(b, *index) for s in shapes))

    def _stencil(self, shapes: Sequence[Shape], index: Index, *, live: bool, address_size: int = 32) -> str:
        name = self._name(shapes, index) + ("" if live else "_dead") + ("_a16" if address_size == 16 else "")
        return self.catalogue.add(name, lambda b: self._emit(b, shapes, index), **self._attributes(live, address_size))

    def _fused(self, shapes: Sequence[Shape], index: Index, code: int) -> str:
        def emit(b: StencilContext) -> None:
            self._emit(b, shapes, index)
            with b.If(flags.condition(b, code)):
                b.jump(b.hole("TARGET"))

        return self.catalogue.add(f"{self._name(shapes, index)}_j{code:x}", emit, **self._attributes(True))
