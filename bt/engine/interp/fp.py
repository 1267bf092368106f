"""Interpreter handlers of FP instructions: all around a thunk (engine/reencode/encode.py) that executes it."""

from __future__ import annotations

from bt.codegen.builder import UNLIKELY
from bt.codegen.value import PTR, Value
from bt.engine.interp.context import HandlerContext, RecordMemory, RecordRegister
from bt.engine.reencode.encode import (
    FP_MAKE_THUNK,
    fp_form,
)
from bt.engine.reencode.forms import FP_FORM
from bt.engine.structures import CONTROL
from bt.memory.backend import OPERAND_COMMIT_MASKED
from bt.x86 import flags
from bt.x86.fp.control import FOPCODE_COMPATIBILITY
from bt.x86.fp.fp_exceptions import (
    EXECUTE_SSE,
    EXECUTE_X87,
)
from bt.x86.fp.fp_state import FP_PREPARE, THUNK
from bt.x86.opcodes.fp import READY_SSE, UNIT_SSE, UNIT_X87, FpUse
from bt.x86.state import CS, EAX, ECX, EDI, EDX

_LONG_STRING = 1 << 16


def _thunk(b: HandlerContext) -> Value:
    with b.Unlikely(b.field("thunk") == 0):
        b.attempt(FP_MAKE_THUNK, b.cpu, b.record)
    return CONTROL.get_pointer(b, b.get_pointer("engine"), "thunks") + b.field("thunk").zext(64)


def _offset(b: HandlerContext, use: FpUse) -> Value:
    return b.reg(EDI, b.address_width) & b.address_mask() if use.masked else RecordMemory(b, 32).offset()


def _register(b: HandlerContext, use: FpUse) -> RecordRegister:
    return RecordRegister(b, use.gpr_width, use.gpr)


def _input(b: HandlerContext, use: FpUse) -> Value:
    """What the thunk takes beside memory: general register or condition, i64."""
    if use.condition is not None:
        return flags.condition(b, use.condition).zext(64)
    if use.lengths:
        return _length(b, EAX, use) | (_length(b, EDX, use) << 32)
    if use.gpr and not use.gpr_written:
        return _register(b, use).read().zext(64)
    return b.const(0, 64)


def _length(b: HandlerContext, register: int, use: FpUse) -> Value:
    """The length of a string in 32 bits, i64; what is longer than a register, either way, is as good as that."""
    value = b.reg(register, use.gpr_width)
    if use.gpr_width == 64:
        value = b.select(value.sgt(_LONG_STRING), b.const(_LONG_STRING, 64), value)
        value = b.select(value.slt(-_LONG_STRING), b.const(-_LONG_STRING, 64), value).trunc(32)
    return value.zext(64)


def _note_pointers(b: HandlerContext, offset: Value | None) -> None:
    """What FNSTENV shows of the last x87 instruction (SDM vol. 1 8.1.8)."""
    b.put("fpu_ip", b.this_eip())
    b.put("fpu_cs", b.get_segment(CS, "selector"))
    if offset is not None:
        b.put("fpu_dp", offset)
        b.put("fpu_ds", b.get_segment(b.source_segment(), "selector"))


def execute(b: HandlerContext, use: FpUse) -> None:
    """The body of a handler."""
    is_x87 = use.units == UNIT_X87
    ready = b.get("fp_ready") & use.ready
    with b.Unlikely(ready != use.ready):
        b.attempt(FP_PREPARE, b.cpu, use.units)
    thunk = _thunk(b)
    operand, offset = b.const(0, PTR), None
    if use.memory:
        offset = _offset(b, use)
        operand = b.operand_pointer(
            b.source_segment(),
            offset,
            use.memory,
            write=use.store,
            align=use.memory if use.aligned else 1,
        )
    taken = _input(b, use)
    result = b.local(64)
    # MMX raises nothing, and what is pending was found by FP_PREPARE
    may_raise = b.const(0, 1)
    if is_x87:
        may_raise = (b.get("fp_ready") & use.ready) != use.ready
    elif use.units & UNIT_SSE:
        may_raise = (b.get("fp_ready") & READY_SSE) == 0
    with b.IfElse(may_raise, UNLIKELY) as arm:
        with arm.then():
            b.attempt(EXECUTE_X87 if is_x87 else EXECUTE_SSE, b.cpu, thunk, operand, taken)
            result.set(b.get("memory_value"))
            if is_x87:
                noted = (b.get("fp_scratch") != 0) | ((b.get("misc_enable") & FOPCODE_COMPATIBILITY) != 0)
                with b.If(noted):
                    _note_opcode(b)
        with arm.otherwise():
            result.set(b.call_pointer(thunk, THUNK, operand, taken))
    if use.masked:
        with b.Unlikely(operand == b.slot("fp_operand")):
            b.attempt(OPERAND_COMMIT_MASKED, b.cpu, thunk)
    elif use.store:
        b.commit_operand(operand)
    if is_x87:
        _note_pointers(b, offset)
    if use.compares or use.tests:
        flags.write_arithmetic(b, result.get())
    if use.indexes:
        b.set_reg(ECX, (result.get() >> 32).trunc(32))
    if use.gpr and use.gpr_written:
        _register(b, use).write(result.get().trunc(use.gpr_width))


def _note_opcode(b: HandlerContext) -> None:
    """The last x87 opcode: as on a Pentium 4 only of instructions that raise unmasked exceptions (SDM vol. 1 8.1.9)."""
    form = fp_form(b, b.record)
    opcode = FP_FORM.get(b, form, "opcode").zext(64) & 7
    b.put("fpu_opcode", (opcode << 8) | b.field("modrm").zext(64))
