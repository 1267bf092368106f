"""Loads of segment registers, in protected mode with all checks (SDM vol. 2, MOV, LLDT, LTR; vol. 3A 5.6, 5.7)."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import state
from bt.x86.context import GP, NP, OK, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS, DS, ES, FS, GS, LDTR, SS, TR
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.operating_mode import has_8086_segments, in_64_bit_mode, is_long_mode, system_linear
from bt.x86.system.segmentation.descriptor_table import (
    BUSY,
    CALL_GATE_16,
    CODE_OR_DATA,
    FETCH_WIDE_DESCRIPTOR,
    LDT,
    SELECTOR_RPL,
    SELECTOR_TABLE,
    SET_NULL_SEGMENT,
    TASK_GATE,
    TSS_16,
    TSS_16_BUSY,
    TSS_32,
    Descriptor,
    check_stack_segment,
    error_code,
    fetch,
    is_null,
    locate,
)
from bt.x86.system.segmentation.segment_8086 import LOAD_8086_SEGMENT

# Load ES, SS, DS, FS or GS: number, selector. Brings the mode up to date when base, limit or kind changed.
LOAD_SEGMENT = native("load_segment", PTR, "i32", "i32")
# LLDT and LTR: selector.
LOAD_LDTR = native("load_ldtr", PTR, "i32")
LOAD_TR = native("load_tr", PTR, "i32")
# What LAR, LSL, VERR and VERW begin with: selector. Answers in memory_value the descriptor, or 0 (which is no valid
# descriptor for any of them) when the selector is null, beyond its table or out of reach of CPL and RPL.
INSPECT_SELECTOR = native("inspect_selector", PTR, "i32")

# Behind the way to an outer level: give up the data segment registers that it may not use.
DROP_SEGMENTS = native("drop_segments", PTR)

# System descriptors without a meaning in long mode (SDM vol. 3A table 3-2)
_GONE_IN_LONG_MODE = sum(1 << kind for kind in (TSS_16, TSS_16_BUSY, CALL_GATE_16, TASK_GATE))
_DPL_AND_ACCESSED = 3 << state.ATTR_DPL_SHIFT | 1


def current_privilege_level(b: Context) -> Value:
    """CPL, i32."""
    return b.get("cpl", width=32)


def enter_code(b: Context, code: Descriptor, selector: Value, offset: Value, level: Value) -> None:
    """Go on at an offset of a code segment that has been checked, at a privilege level (i32)."""
    code.load_into(CS, (selector & ~SELECTOR_RPL) | level)
    b.put("cpl", level)
    b.put("eip", offset)
    b.attempt(UPDATE_MODE, b.cpu)


def _check_data_segment(b: Context, selector: Value, descriptor: Descriptor) -> None:
    error = error_code(selector)
    dpl, rpl, cpl = descriptor.dpl(), selector & SELECTOR_RPL, current_privilege_level(b)
    out_of_reach = ~descriptor.is_conforming_code() & (rpl.ugt(dpl) | cpl.ugt(dpl))
    b.fault_if(~descriptor.is_readable() | out_of_reach, GP, error)
    b.fault_if(~descriptor.present(), NP, error)


def _shape(b: Context, segment: Value) -> tuple[Value, Value, Value]:
    """All of a segment register that generated code may have been specialised for."""
    attributes = b.get_segment(segment, "attributes") & ~_DPL_AND_ACCESSED
    return b.get_segment(segment, "base"), b.get_segment(segment, "limit"), attributes


def _load_described(b: Context, segment: Value, selector: Value) -> None:
    """Load by the descriptor that the selector names, in protected mode; 64-bit code may do without a stack segment."""
    is_stack = segment == SS
    with b.IfElse(is_null(selector)) as null:
        with null.then():
            cpl = current_privilege_level(b)
            allowed = in_64_bit_mode(b) & (cpl != 3) & ((selector & SELECTOR_RPL) == cpl)
            b.fault_if(is_stack & ~allowed, GP, 0)
            b.attempt(SET_NULL_SEGMENT, b.cpu, segment, selector)
        with null.otherwise():
            descriptor = fetch(b, selector)
            with b.IfElse(is_stack) as kind:
                with kind.then():
                    check_stack_segment(b, selector, descriptor, current_privilege_level(b))
                with kind.otherwise():
                    _check_data_segment(b, selector, descriptor)
            descriptor.mark_accessed(selector).load_into(segment, selector)


def _load_segment(b: Context) -> None:
    cpu, segment, selector = b.arguments
    before = _shape(b, segment)
    with b.IfElse(has_8086_segments(b)) as rules:
        with rules.then():
            b.attempt(LOAD_8086_SEGMENT, cpu, segment, selector)
        with rules.otherwise():
            _load_described(b, segment, selector)
    difference = b.const(0, 64)
    for old, new in zip(before, _shape(b, segment), strict=True):
        difference = difference | (old ^ new)
    with b.Unlikely(difference != 0):
        b.attempt(UPDATE_MODE, cpu)


def _fetch_system(b: Context, selector: Value) -> tuple[Descriptor, Value]:
    """The descriptor of an LDT or TSS, and the upper half of its base (i64, in place), which long mode has."""
    upper = b.local(64, 0)
    with b.IfElse(is_long_mode(b)) as arm:
        with arm.then():
            b.attempt(FETCH_WIDE_DESCRIPTOR, b.cpu, selector)
            upper.set(b.get("walk_flags") << 32)
        with arm.otherwise():
            fetch(b, selector)
    raw = b.get("memory_value")
    return Descriptor(b, raw.trunc(32), (raw >> 32).trunc(32)), upper.get()


def _check_base(b: Context, upper: Value, error: Value) -> None:
    """#GP if a base with this upper half is not canonical. (One of 32 bits is.)"""
    b.fault_if(~is_canonical(upper), GP, error)


def _set_upper_base(b: Context, segment: int, upper: Value) -> None:
    b.put_segment(segment, "base", b.get_segment(segment, "base") | upper)


def _load_ldtr(b: Context) -> None:
    """LLDT. A null selector is allowed: every use of the LDT then faults."""
    cpu, selector = b.arguments
    with b.If(is_null(selector)):
        b.attempt(SET_NULL_SEGMENT, cpu, LDTR, selector)
        b.ret(OK)
    error = error_code(selector)
    b.fault_if((selector & SELECTOR_TABLE) != 0, GP, error)
    descriptor, upper = _fetch_system(b, selector)
    b.fault_if(descriptor.system_type() != LDT, GP, error)
    b.fault_if(~descriptor.present(), NP, error)
    _check_base(b, upper, error)
    descriptor.load_into(LDTR, selector)
    _set_upper_base(b, LDTR, upper)


def _load_tr(b: Context) -> None:
    """LTR: the descriptor becomes busy in memory and in the register."""
    _, selector = b.arguments
    b.fault_if(is_null(selector), GP, 0)
    error = error_code(selector)
    b.fault_if((selector & SELECTOR_TABLE) != 0, GP, error)
    descriptor, upper = _fetch_system(b, selector)
    kind = descriptor.system_type()
    b.fault_if(((kind != TSS_16) | is_long_mode(b)) & (kind != TSS_32), GP, error)
    b.fault_if(~descriptor.present(), NP, error)
    _check_base(b, upper, error)
    busy = Descriptor(b, descriptor.low, descriptor.high | BUSY)
    linear, _ = locate(b, selector)
    b.write_linear(system_linear(b, linear + 5), (busy.high >> 8).trunc(8), system=True)
    busy.load_into(TR, selector)
    _set_upper_base(b, TR, upper)


def _inspect_selector(b: Context) -> None:
    _, selector = b.arguments
    linear, within = locate(b, selector)
    with b.If(is_null(selector) | ~within):
        b.put("memory_value", 0)
        b.ret(OK)
    low, high = (b.read_linear(system_linear(b, linear + at), 32, system=True) for at in (0, 4))
    descriptor = Descriptor(b, low, high)
    dpl = descriptor.dpl()
    in_reach = current_privilege_level(b).ule(dpl) & (selector & SELECTOR_RPL).ule(dpl)
    raw = low.zext(64) | (high.zext(64) << 32)
    gone = is_long_mode(b) & (b.const(_GONE_IN_LONG_MODE, 32) >> descriptor.system_type()).trunc(1)
    b.put("memory_value", b.select((in_reach | descriptor.is_conforming_code()) & ~gone, raw, 0))


def _drop_segments(b: Context) -> None:
    (cpu,) = b.arguments
    for segment in (ES, FS, GS, DS):
        attributes = b.get_segment(segment, "attributes", width=32)
        register = Descriptor(b, b.const(0, 32), attributes << 8)
        usable = ((register.high & CODE_OR_DATA) == 0) | register.is_conforming_code()
        with b.If(~usable & register.dpl().ult(current_privilege_level(b))):
            b.attempt(SET_NULL_SEGMENT, cpu, segment, 0)


RUNTIME = (
    (DROP_SEGMENTS, _drop_segments),
    (LOAD_SEGMENT, _load_segment),
    (LOAD_LDTR, _load_ldtr),
    (LOAD_TR, _load_tr),
    (INSPECT_SELECTOR, _inspect_selector),
)
