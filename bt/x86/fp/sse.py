"""FXSAVE and FXRSTOR, MXCSR, CLFLUSH (SDM vol. 2; vol. 1 table 10-2).

In 64-bit mode there are eight XMM registers more, and with REX.W the pointers have 64 bits and no selectors.
"""

from __future__ import annotations

from bt.codegen import host_fp
from bt.codegen.value import Value
from bt.x86 import features
from bt.x86.context import GP, Context, MemoryOperand, Operand
from bt.x86.fp.control import MXCSR_MASKS, STATUS_SUMMARY, X87_MASKS
from bt.x86.fp.fp_state import (
    FP_PREPARE,
    FX_CONTROL,
    FX_CS,
    FX_DP,
    FX_DS,
    FX_GUEST_BYTES,
    FX_IP,
    FX_LONG_BYTES,
    FX_MXCSR,
    FX_MXCSR_MASK,
    FX_OPCODE,
    FX_REGISTERS,
    FX_STATUS,
    FX_XMM,
    UNIT_X87_NO_WAIT,
    guest_mxcsr,
    guest_status,
    mxcsr_defined,
    set_control,
    set_mxcsr,
)
from bt.x86.opcodes.fp import UNIT_SSE

_AREA_BYTES, _ALIGNMENT = 512, 16
# Pointer slots by their place in the image, with their width
_POINTERS = (
    ("fpu_opcode", FX_OPCODE, 16),
    ("fpu_ip", FX_IP, 32),
    ("fpu_cs", FX_CS, 16),
    ("fpu_dp", FX_DP, 32),
    ("fpu_ds", FX_DS, 16),
)
_LONG_POINTERS = (("fpu_opcode", FX_OPCODE, 16), ("fpu_ip", FX_IP, 64), ("fpu_dp", FX_DP, 64))


def _pointers(b: Context) -> tuple[tuple[str, int, int], ...]:
    return _LONG_POINTERS if b.operand_size == 64 else _POINTERS


def _area(b: Context, operand: MemoryOperand, *, write: bool) -> Value:
    return b.operand_pointer(
        b.source_segment(), operand.offset(), _AREA_BYTES, write=write, fill=write, align=_ALIGNMENT
    )


def _copy(b: Context, target: Value, source: Value, start: int, end: int) -> None:
    with b.Range(end, start, step=8) as at:
        b.store(target + at, b.load(source + at, 64))


def _copy_image(b: Context, target: Value, source: Value) -> None:
    """What the processor has: without SSE neither MXCSR nor XMM registers."""
    _copy(b, target, source, 0, FX_MXCSR)
    _copy(b, target, source, FX_REGISTERS, FX_XMM)
    with b.If(features.has(b, "sse")):
        _copy(b, target, source, FX_MXCSR, FX_REGISTERS)
        _copy(b, target, source, FX_XMM, FX_LONG_BYTES if b.long else FX_GUEST_BYTES)


def fxsave(b: Context, dst: MemoryOperand) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87_NO_WAIT)
    where = _area(b, dst, write=True)
    image = b.slot("fp_image")
    b.call(host_fp.FXSAVE, image)
    status, mxcsr = guest_status(b), guest_mxcsr(b)
    b.store(image + FX_CONTROL, b.get("fpu_control", width=16))
    b.store(image + FX_STATUS, status.trunc(16))
    for offset in (FX_IP, FX_DP):
        b.store(image + offset, b.const(0, 64))
    for name, offset, width in _pointers(b):
        b.store(image + offset, b.get(name, width=width))
    b.store(image + FX_MXCSR, mxcsr)
    b.store(image + FX_MXCSR_MASK, mxcsr_defined(b))
    _copy_image(b, where, image)
    b.commit_operand(where)


def fxrstor(b: Context, src: MemoryOperand) -> None:
    """FXRSTOR: a reserved bit in MXCSR is #GP(0)."""
    b.attempt(FP_PREPARE, b.cpu, UNIT_X87_NO_WAIT)
    where = _area(b, src, write=False)
    mxcsr = b.select(features.has(b, "sse"), b.load(where + FX_MXCSR, 32), guest_mxcsr(b))
    b.fault_if((mxcsr & ~mxcsr_defined(b)) != 0, GP, 0)
    control = b.load(where + FX_CONTROL, 16).zext(32)
    image = b.slot("fp_image")
    b.call(host_fp.FXSAVE, image)
    _copy_image(b, image, where)
    for name, offset, width in _pointers(b):
        b.put(name, b.load(where + offset, width))
    b.store(image + FX_CONTROL, (control | X87_MASKS).trunc(16))
    b.store(image + FX_STATUS, b.load(where + FX_STATUS, 16) & ~STATUS_SUMMARY)
    for offset in (FX_IP, FX_DP):
        b.store(image + offset, b.const(0, 64))
    b.store(image + FX_MXCSR, mxcsr | MXCSR_MASKS)
    b.call(host_fp.FXRSTOR, image)
    set_control(b, control)
    set_mxcsr(b, mxcsr)


def ldmxcsr(b: Context, src: Operand) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_SSE)
    value = src.read()
    b.fault_if((value & ~mxcsr_defined(b)) != 0, GP, 0)
    set_mxcsr(b, value)


def stmxcsr(b: Context, dst: Operand) -> None:
    b.attempt(FP_PREPARE, b.cpu, UNIT_SSE)
    dst.write(guest_mxcsr(b))


def clflush(b: Context, line: Operand) -> None:
    """CLFLUSH: checks its address as a read of a byte does."""
    line.read()
