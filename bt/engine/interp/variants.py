"""Which handlers the interpreter has: one for each form and variant (operand size, register or memory, repetition)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bt.engine.structures import (
    LONG_OPERAND_SIZES,
    LONG_VARIANTS,
    OPERAND_SIZES,
    VARIANT_MEMORY,
    VARIANT_REPNZ,
    VARIANT_REPZ,
    VARIANTS,
    operand_size_of,
)
from bt.x86.opcodes import FORMS, UNDEFINED, Form, Method, Operand, Width
from bt.x86.opcodes.fp import FpUse, fp_use, has_wide_operand, is_fp

# Word operands too: PUSH of a segment register, RET imm16 and ENTER move the stack by the operand size.
_UNSIZED = frozenset((Width.B, Width.D, Width.Y, Width.Q, Width.QX, Width.NONE))
_UNSIZED_LONG = _UNSIZED - {Width.Y, Width.QX}
_FIXED_WIDTHS = {Width.B: 8, Width.W: 16, Width.D: 32, Width.Q: 64}
_WIDER_WITH_64 = {Width.Y: (32, 64), Width.QX: (64, 128)}

_EITHER = frozenset((Method.REGISTER_OR_MEMORY, Method.XMM_OR_MEMORY, Method.MMX_OR_MEMORY))


class Variant(NamedTuple):
    """One way a form can appear: what is settled when its handler or stencil is made."""

    form: Form
    operand_size: int = 32
    memory: bool = False
    rep: str | None = None
    long: bool = False  # in 64-bit code

    @property
    def name(self) -> str:
        """For symbols. FP forms that are executed in the same way share it."""
        if is_fp(self.form):
            return ("long_" if self.long else "") + self.use.name
        parts = [
            f"long_op{self.form.id}" if self.long else f"op{self.form.id}",
            str(self.operand_size),
            "m" if self.memory else "",
            self.rep or "",
        ]
        return "_".join(part for part in parts if part)

    @property
    def use(self) -> FpUse:
        """Of an FP form."""
        return fp_use(self.form, self.memory, wide=self.operand_size == 64)

    def width_of(self, operand: Operand) -> int:
        """Width of an operand in bits."""
        if operand.width is Width.VW:
            return 16 if self.memory else self.operand_size
        if operand.width is Width.Z and operand.method is Method.REGISTER_OR_MEMORY:
            return min(self.operand_size, 32)
        if operand.width in _WIDER_WITH_64:
            return _WIDER_WITH_64[operand.width][self.operand_size == 64]
        if operand.width is Width.NONE:
            return 64 if self.long else 32
        return _FIXED_WIDTHS.get(operand.width, self.operand_size)


def size_matters(form: Form, *, long: bool = False) -> bool:
    """True if the operand size changes what the form does. Implicit operands are not in the table: assume it does."""
    if is_fp(form):
        return long and has_wide_operand(form)
    unsized = _UNSIZED_LONG if long else _UNSIZED
    return not form.operands or any(o.width not in unsized for o in form.operands)


def memory_choice(form: Form) -> tuple[bool, ...]:
    """Whether the ModRM operand can be a register, memory, or both."""
    methods = {o.method for o in form.operands}
    if methods & {Method.MEMORY_ONLY, Method.OFFSET}:
        return (True,)
    return (False, True) if methods & _EITHER else (False,)


def repetitions(form: Form) -> tuple[str | None, ...]:
    match form.rep:
        case None:
            return (None,)
        case "rep":
            return (None, "repz")
        case _:
            return (None, "repz", "repnz")


def exists(form: Form, *, long: bool) -> bool:
    """Whether 64-bit code (or the other) has the form."""
    return form.long != ("gone" if long else "only")


def operand_sizes(form: Form, *, long: bool) -> tuple[int, ...]:
    """The operand sizes that the form has, bits."""
    if not size_matters(form, long=long):
        return (32,)
    if not long:
        return OPERAND_SIZES
    match form.long:
        case "forced 64":
            return (64,)
        case "default 64":
            return (64, 16)
    without_wide = form.privilege == "io" or form.meaning.startswith("x87.")  # REX.W says nothing
    return OPERAND_SIZES if without_wide else LONG_OPERAND_SIZES


def variants(form: Form, *, long: bool = False) -> Iterator[Variant]:
    """All variants of a form that differ."""
    if not exists(form, long=long):
        return
    for size in operand_sizes(form, long=long):
        for memory in memory_choice(form):
            for rep in repetitions(form):
                yield Variant(form, size, memory, rep, long)


def variant_for(form: Form, number: int, *, long: bool = False) -> Variant:
    """The variant that serves a record's `variant` bits."""
    if not exists(form, long=long):
        form = UNDEFINED
    choice = memory_choice(form)
    wanted = bool(number & VARIANT_MEMORY)
    memory = wanted if wanted in choice else choice[0]
    rep = "repz" if number & VARIANT_REPZ else "repnz" if number & VARIANT_REPNZ else None
    if rep not in repetitions(form):
        rep = "repz" if form.rep and rep else None
    size, sizes = operand_size_of(number), operand_sizes(form, long=long)
    return Variant(form, size if size in sizes else sizes[0], memory, rep, long)


def handler_names(*, long: bool = False) -> list[str]:
    """Symbol of the handler for each form x variant number: the order of CONTROL.handlers, or of the long ones."""
    numbers = range(LONG_VARIANTS if long else VARIANTS)
    return [f"interp_{variant_for(form, number, long=long).name}" for form in FORMS for number in numbers]
