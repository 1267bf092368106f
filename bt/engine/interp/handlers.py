"""The interpreter's handlers: what is in each of them (variants.py)."""

from __future__ import annotations

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
from bt.engine.interp.variants import Variant
from bt.engine.meaning import meaning_function
from bt.engine.shapes import immediate_field
from bt.x86.opcodes import Method, Operand
from bt.x86.opcodes.fp import is_fp
from bt.x86.operands import Constant, NamedRegister
from bt.x86.system.operating_mode import require_protected_mode


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
        case Method.SEGMENT:
            return RecordNumber(b, width, "reg_number", 7 if variant.long else -1)  # whatever REX.R says
        case Method.CONTROL_REGISTER | Method.DEBUG_REGISTER:
            return RecordNumber(b, width, "reg_number")
        case Method.ONE:
            return Constant(b, width, 1)
        case Method.RELATIVE:
            return RecordImmediate(b, b.address_width)
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
    signature = handler(f"interp_{variant.name}")
    b = HandlerContext(module, signature, operand_size=variant.operand_size, rep=variant.rep, long=variant.long)
    if form.condition is not None:
        b.condition_code = form.condition
    b.begin()
    if form.modes == "protected":
        require_protected_mode(b)
    if is_fp(form):
        fp.execute(b, variant.use)
    else:
        operands = [_operand(b, variant, operand, place) for place, operand in enumerate(form.operands)]
        meaning_function(form.meaning)(b, *operands)
    b.proceed()
    b.finish()
