"""Interpreter handlers: one for each form and variant (operand size, register or memory, repetition)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bt.codegen.abi import handler
from bt.codegen.builder import Module
from bt.engine.interp import fp
from bt.engine.interp.context import (
    FixedSegment,
    HandlerContext,
    RecordImmediate,
    RecordMemory,
    RecordNumber,
    RecordRegister,
)
from bt.engine.meaning import meaning_function
from bt.engine.shapes import immediate_field
from bt.engine.structures import (
    OPERAND_SIZES,
    VARIANT_MEMORY,
    VARIANT_REPNZ,
    VARIANT_REPZ,
    VARIANTS,
    operand_size_of,
)
from bt.x86.opcodes import FORMS, Form, Method, Operand, Width
from bt.x86.opcodes.fp import fp_use, is_fp
from bt.x86.operands import Constant, NamedRegister
from bt.x86.system.operating_mode import require_protected_mode

# Word operands too: PUSH of a segment register, RET imm16 and ENTER move the stack by the operand size.
_UNSIZED = frozenset((Width.B, Width.D, Width.Q, Width.NONE))
_FIXED_WIDTHS = {Width.B: 8, Width.W: 16, Width.D: 32, Width.Q: 64, Width.NONE: 32}

_EITHER = frozenset((Method.REGISTER_OR_MEMORY, Method.XMM_OR_MEMORY, Method.MMX_OR_MEMORY))


@dataclass(frozen=True)
class Variant:
    """One way a form can appear: what is settled when its handler or stencil is made."""

    form: Form
    operand_size: int = 32
    memory: bool = False
    rep: str | None = None

    @property
    def name(self) -> str:
        """For symbols. FP forms that are executed in the same way share it."""
        if is_fp(self.form):
            return fp_use(self.form, self.memory).name
        parts = [f"op{self.form.id}", str(self.operand_size), "m" if self.memory else "", self.rep or ""]
        return "_".join(part for part in parts if part)

    def width_of(self, operand: Operand) -> int:
        """Width of an operand in bits."""
        if operand.width is Width.VW:
            return 16 if self.memory else self.operand_size
        return _FIXED_WIDTHS.get(operand.width, self.operand_size)


def size_matters(form: Form) -> bool:
    """True if the operand size changes what the form does. Implicit operands are not in the table: assume it does."""
    if is_fp(form):
        return False
    return not form.operands or any(o.width not in _UNSIZED for o in form.operands)


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


def variants(form: Form) -> Iterator[Variant]:
    """All variants of a form that differ."""
    for size in OPERAND_SIZES if size_matters(form) else (32,):
        for memory in memory_choice(form):
            for rep in repetitions(form):
                yield Variant(form, size, memory, rep)


def variant_for(form: Form, number: int) -> Variant:
    """The variant that serves a record's `variant` bits."""
    choice = memory_choice(form)
    wanted = bool(number & VARIANT_MEMORY)
    memory = wanted if wanted in choice else choice[0]
    rep = "repz" if number & VARIANT_REPZ else "repnz" if number & VARIANT_REPNZ else None
    if rep not in repetitions(form):
        rep = "repz" if form.rep and rep else None
    return Variant(form, operand_size_of(number) if size_matters(form) else 32, memory, rep)


def handler_names() -> list[str]:
    """Symbol of the handler for each form x variant number: the order of CONTROL.handlers."""
    return [f"interp_{variant_for(form, number).name}" for form in FORMS for number in range(VARIANTS)]


def _operand(b: HandlerContext, variant: Variant, operand: Operand, place: int) -> Any:
    width = variant.width_of(operand)
    match operand.method:
        case Method.REGISTER_OR_MEMORY if not variant.memory:
            return RecordRegister(b, width, "rm")
        case Method.REGISTER_OR_MEMORY | Method.MEMORY_ONLY | Method.OFFSET:
            return RecordMemory(b, width)
        case Method.REGISTER_RM | Method.OPCODE_REGISTER:
            return RecordRegister(b, width, "rm")
        case Method.REGISTER:
            return RecordRegister(b, width, "reg")
        case Method.FIXED_REGISTER:
            return NamedRegister(b, width, operand.number)
        case Method.FIXED_SEGMENT:
            return FixedSegment(b, width, operand.number)
        case Method.SEGMENT | Method.CONTROL_REGISTER | Method.DEBUG_REGISTER:
            return RecordNumber(b, width, "reg_number")
        case Method.ONE:
            return Constant(b, width, 1)
        case Method.RELATIVE:
            return RecordImmediate(b, 32)
        case Method.IMMEDIATE | Method.FAR_POINTER:
            slot = immediate_field(variant.form, place)
            return RecordImmediate(b, 32 if operand.method is Method.FAR_POINTER else width, slot)
        case Method.SOURCE_STRING | Method.DESTINATION_STRING:
            return StringOperand(width)
    raise AssertionError(f"{variant.form!r}: operand method {operand.method} has no interpreter operand")


@dataclass
class StringOperand:
    """A string operand: the instruction itself steps through memory, only the width is known here."""

    width: int
    is_memory = True


def emit_handler(module: Module, variant: Variant) -> None:
    """Add one handler to a module."""
    form = variant.form
    b = HandlerContext(module, handler(f"interp_{variant.name}"), operand_size=variant.operand_size, rep=variant.rep)
    if form.condition is not None:
        b.condition_code = form.condition
    b.begin()
    if form.modes == "protected":
        require_protected_mode(b)
    if is_fp(form):
        fp.execute(b, fp_use(form, variant.memory))
    else:
        operands = [_operand(b, variant, operand, place) for place, operand in enumerate(form.operands)]
        meaning_function(form.meaning)(b, *operands)
    b.proceed()
    b.finish()
