"""Instructions on segment registers and selectors, and far control transfer (SDM vol. 2)."""

from __future__ import annotations

from collections.abc import Iterable

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import Context, MemoryOperand, Operand
from bt.x86.state import DS, ES, ESP, FS, GS, SS
from bt.x86.system.operands import FarPointer, NumberedRegister
from bt.x86.system.segmentation.descriptor_table import (
    CALL_GATE_16,
    CALL_GATE_32,
    CODE_OR_DATA,
    LDT,
    SELECTOR_RPL,
    TASK_GATE,
    TSS_16,
    TSS_16_BUSY,
    TSS_32,
    TSS_32_BUSY,
    Descriptor,
)
from bt.x86.system.segmentation.far_transfer import (
    FAR_CALL,
    FAR_JUMP,
)
from bt.x86.system.segmentation.returns import FAR_RETURN
from bt.x86.system.segmentation.segment_load import (
    INSPECT_SELECTOR,
    LOAD_SEGMENT,
)

# System descriptors LAR and LSL answer for (SDM vol. 2, table 3-53 and the table under LSL); code and data always.
LAR_SYSTEM_TYPES = (TSS_16, LDT, TSS_16_BUSY, CALL_GATE_16, TASK_GATE, TSS_32, TSS_32_BUSY, CALL_GATE_32)
LSL_SYSTEM_TYPES = (TSS_16, LDT, TSS_16_BUSY, TSS_32, TSS_32_BUSY)
LAR_MASK = 0x00F0_FF00  # type, S, DPL, P; AVL, L, D, G


# -- loads and stores -------------------------------------------------------------------------------------------------


def _number(b: Context, segment: int | Value) -> Value:
    return b.const(segment, 32) if isinstance(segment, int) else segment.trunc(32)


def _selector(b: Context, segment: NumberedRegister) -> Value:
    return b.get_segment(segment.number, "selector", width=16)


def _go_on_if_changed(b: Context, mode: Value) -> None:
    """Code translated for other segments must not run on."""
    with b.Unlikely(b.get("mode") != mode):
        b.put("eip", b.next_eip())
        b.resume()


def _inhibit_interrupts(b: Context) -> None:
    """After MOV SS, POP SS no interrupt or trap comes before the next instruction has set ESP (SDM vol. 3A 6.8.3).

    Only the first of several in a row counts, so that they cannot keep interrupts out.
    """
    with b.If(b.get("debug_shadow") != b.icount() - 1):
        b.put("inhibit", b.icount())
        b.put("debug_shadow", b.icount())
    b.put("eip", b.next_eip())
    b.resume()


def push(b: Context, src: NumberedRegister) -> None:
    """PUSH of a segment register: zero-extended to the operand size."""
    b.push(_selector(b, src).zext(b.operand_size))


def pop(b: Context, dst: NumberedRegister) -> None:
    """POP of a segment register: the stack pointer moves by the operand size as the old SS has it."""
    mode = b.get("mode")
    selector = b.stack_read(0, b.operand_size).trunc(16)  # the whole stack element must be there, if only half is used
    mask, old = b.stack_mask(), b.stack_pointer()
    b.attempt(LOAD_SEGMENT, b.cpu, _number(b, dst.number), selector.zext(32))
    b.set_reg(ESP, (old & ~mask) | ((old + b.operand_size // 8) & mask))
    if isinstance(dst.number, int) and dst.number == SS:
        _inhibit_interrupts(b)
    else:
        _go_on_if_changed(b, mode)


def store(b: Context, dst: Operand, src: NumberedRegister) -> None:
    """MOV r/m, Sreg: a 32-bit register is zero-extended."""
    dst.write(_selector(b, src).zext(dst.width))


def load(b: Context, dst: NumberedRegister, src: Operand) -> None:
    """MOV Sreg, r/m16."""
    mode = b.get("mode")
    number = _number(b, dst.number)
    b.attempt(LOAD_SEGMENT, b.cpu, number, src.read().zext(32))
    with b.If(number == SS):
        _inhibit_interrupts(b)
    _go_on_if_changed(b, mode)


def _load_pointer(b: Context, segment: int, dst: Operand, src: MemoryOperand) -> None:
    mode = b.get("mode")
    offset = src.read_at(0, b.operand_size)
    selector = src.read_at(b.operand_size // 8, 16)
    b.attempt(LOAD_SEGMENT, b.cpu, segment, selector.zext(32))
    dst.write(offset)
    _go_on_if_changed(b, mode)


def les(b: Context, dst: Operand, src: MemoryOperand) -> None:
    _load_pointer(b, ES, dst, src)


def lds(b: Context, dst: Operand, src: MemoryOperand) -> None:
    _load_pointer(b, DS, dst, src)


def lss(b: Context, dst: Operand, src: MemoryOperand) -> None:
    """LSS: loads both halves of the stack pointer at once, and so needs no shadow."""
    _load_pointer(b, SS, dst, src)


def lfs(b: Context, dst: Operand, src: MemoryOperand) -> None:
    _load_pointer(b, FS, dst, src)


def lgs(b: Context, dst: Operand, src: MemoryOperand) -> None:
    _load_pointer(b, GS, dst, src)


# -- questions about selectors ----------------------------------------------------------------------------------------


def _inspect(b: Context, selector: Value) -> Descriptor:
    b.attempt(INSPECT_SELECTOR, b.cpu, selector.zext(32))
    raw = b.get("memory_value")
    return Descriptor(b, raw.trunc(32), (raw >> 32).trunc(32))


def _has_type(b: Context, descriptor: Descriptor, system_types: Iterable[int]) -> Value:
    """Code or data, or one of the system types, i1."""
    types = b.const(sum(1 << number for number in system_types), 32)
    listed = (types >> ((descriptor.high >> 8) & 0xF)).trunc(1)
    return ((descriptor.high & CODE_OR_DATA) != 0) | listed


def _answer(b: Context, dst: Operand, valid: Value, value: Value) -> None:
    with b.If(valid):
        dst.write(value.resize(dst.width))
    flags.set_zero(b, valid)


def lar(b: Context, dst: Operand, src: Operand) -> None:
    """LAR: access rights, and ZF if the selector may be known here."""
    descriptor = _inspect(b, src.read())
    _answer(b, dst, _has_type(b, descriptor, LAR_SYSTEM_TYPES), descriptor.high & LAR_MASK)


def lsl(b: Context, dst: Operand, src: Operand) -> None:
    """LSL: limit in bytes, and ZF as for LAR (gates have none)."""
    descriptor = _inspect(b, src.read())
    _answer(b, dst, _has_type(b, descriptor, LSL_SYSTEM_TYPES), descriptor.limit())


def verr(b: Context, src: Operand) -> None:
    """VERR: ZF if the segment can be read from here."""
    flags.set_zero(b, _inspect(b, src.read()).is_readable())


def verw(b: Context, src: Operand) -> None:
    """VERW: ZF if the segment can be written from here."""
    flags.set_zero(b, _inspect(b, src.read()).is_writable_data())


def arpl(b: Context, dst: Operand, src: Operand) -> None:
    """ARPL: raise the RPL of dst to that of src; ZF if it was lower. Where nothing changes nothing is written."""
    old, wanted = dst.read(), src.read() & SELECTOR_RPL
    lower = (old & SELECTOR_RPL).ult(wanted)
    with b.If(lower):
        dst.write((old & ~SELECTOR_RPL) | wanted)
    flags.set_zero(b, lower)


# -- far control transfer ---------------------------------------------------------------------------------------------


def _far_pointer(b: Context, target: MemoryOperand | FarPointer) -> tuple[Value, Value]:
    """Selector (i32) and offset (i64)."""
    offset = target.read_at(0, b.operand_size) if target.is_memory else target.read()
    return target.read_at(b.operand_size // 8, 16).zext(32), offset.zext(64)


def jmp_far(b: Context, target: MemoryOperand | FarPointer) -> None:
    b.attempt(FAR_JUMP, b.cpu, *_far_pointer(b, target), b.next_eip().zext(64))
    b.resume()


def call_far(b: Context, target: MemoryOperand | FarPointer) -> None:
    b.attempt(FAR_CALL, b.cpu, *_far_pointer(b, target), b.next_eip().zext(64), b.operand_size)
    b.resume()


def ret_far(b: Context, release: Operand | None = None) -> None:
    """RETF: `release` is the number of parameter bytes, zero-extended."""
    count = b.const(0, 32) if release is None else release.read().zext(32)
    b.attempt(FAR_RETURN, b.cpu, b.operand_size, count)
    b.resume()
