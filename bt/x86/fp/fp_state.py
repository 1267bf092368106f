"""Where the guest's x87, MMX and XMM registers are, and whether an FP instruction may run (SDM vol. 1 8, 10, 11).

They live in the host's own registers while guest code runs (`fp_loaded`), else in `fp_image`. Nothing of ours touches
an FP register, so they move only when the guest first uses them, and before Python runs.

The host's exception masks are always set, whatever the guest's are: a guest must not raise signals in bt. While the
guest's are set too, and CR0 and CR4 allow FP instructions, `fp_ready` says so and they are simply executed. Otherwise
each of them is prepared here first, and fp_exceptions.py looks at what it raised.
"""

from __future__ import annotations

from bt.codegen import host_fp
from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import features
from bt.x86.context import EXIT, MF, NM, OK, UD, Context
from bt.x86.exits import ExitReason
from bt.x86.fp.control import (
    CONTROL_FIXED,
    CONTROL_WRITABLE,
    FOPCODE_COMPATIBILITY,
    MXCSR_DAZ,
    MXCSR_DEFINED,
    MXCSR_MASKS,
    STATUS_SUMMARY,
    X87_MASKS,
)
from bt.x86.opcodes.fp import READY_SSE, READY_X87, UNIT_MMX, UNIT_SSE, UNIT_X87
from bt.x86.system.registers.control_registers import (
    CR0_EM,
    CR0_NE,
    CR0_TS,
    CR4_OSFXSR,
)

FP_LOAD = native("fp_load", PTR, result="void")
FP_UNLOAD = native("fp_unload", PTR, result="void")
# What must be done before an FP instruction: UNIT_* bits; raises #UD, #NM, #MF; loads the registers, sets `fp_ready`.
FP_PREPARE = native("fp_prepare", PTR, "i32")
# The guest's FP instruction as the host executes it (bt/engine/reencode/encode.py): host address of the operand,
# general register or condition; answers general register or EFLAGS.
THUNK = native("thunk", PTR, "i64", result="i64")
# Further bits for FP_PREPARE: an x87 instruction that does not wait for pending exceptions; WAIT itself.
UNIT_X87_NO_WAIT, UNIT_WAIT = 8, 16
AHEAD = 0  # no instruction yet, but some may come that do not ask

# Offsets in an FXSAVE image (SDM vol. 1 table 10-2)
FX_CONTROL, FX_STATUS, FX_TAGS, FX_OPCODE, FX_IP, FX_CS, FX_DP, FX_DS, FX_MXCSR, FX_MXCSR_MASK, FX_REGISTERS = (
    0, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32,
)  # fmt: skip
FX_XMM, FX_GUEST_BYTES = 160, 288  # XMM0; behind XMM7, where nothing is written in 32-bit modes
FX_LONG_BYTES = 416  # behind XMM15


def _load(b: Context) -> None:
    with b.If(b.get("fp_loaded") != 0):
        b.ret()
    b.call(host_fp.FNSTCW, b.slot("host_control"))
    b.call(host_fp.STMXCSR, b.slot("host_mxcsr"))
    b.call(host_fp.FXRSTOR, b.slot("fp_image"))
    b.put("fp_loaded", 1)


def _unload(b: Context) -> None:
    with b.If(b.get("fp_loaded") == 0):
        b.ret()
    b.call(host_fp.FXSAVE, b.slot("fp_image"))
    b.call(host_fp.FNINIT)  # C functions expect an empty x87 stack
    b.call(host_fp.FLDCW, b.slot("host_control"))
    b.call(host_fp.LDMXCSR, b.slot("host_mxcsr"))
    b.put("fp_loaded", 0)
    b.put("fp_ready", 0)


def host_status(b: Context) -> Value:
    """The x87 status word, i32; ES and B are clear, because the host has all exceptions masked."""
    b.call(host_fp.FNSTSW, b.slot("fp_scratch"))
    return b.get("fp_scratch", width=16).zext(32)


def guest_status(b: Context) -> Value:
    """The status word as the guest sees it, i32: ES says that a flag is set whose exception is not masked."""
    status = host_status(b)
    pending = (status & ~b.get("fpu_control", width=32) & X87_MASKS) != 0
    return (status & ~STATUS_SUMMARY) | b.select(pending, b.const(STATUS_SUMMARY, 32), 0)


def _prepare(b: Context) -> None:
    _, units = b.arguments
    with b.Unlikely((units == AHEAD) & (b.get("ignore_fp_error") != 0)):
        b.ret(OK)  # the first of them takes that back, unless it faults
    cr0, cr4 = b.get("cr0", width=32), b.get("cr4", width=32)
    emulated, switched = (cr0 & CR0_EM) != 0, (cr0 & CR0_TS) != 0
    is_x87 = (units & (UNIT_X87 | UNIT_X87_NO_WAIT)) != 0
    simd = (units & (UNIT_MMX | UNIT_SSE)) != 0
    no_sse = ((units & UNIT_SSE) != 0) & ((cr4 & CR4_OSFXSR) == 0)
    b.fault_if((simd & emulated) | no_sse, UD)
    b.fault_if((is_x87 & emulated) | ((is_x87 | simd) & switched), NM)
    b.call(FP_LOAD, b.cpu)
    control = b.get("fpu_control", width=32)
    pending = (host_status(b) & ~control & X87_MASKS) != 0
    with b.If(~pending):
        b.put("ignore_fp_error", 0)
    with b.Unlikely(pending & ((units & (UNIT_X87 | UNIT_MMX | UNIT_WAIT)) != 0)):
        b.fault_if((cr0 & CR0_NE) != 0, MF)
        # FERR#, and the processor waits for the interrupt that it causes (SDM vol. 1 D.2.1), even behind STI
        with b.If(b.get("ignore_fp_error") == 0):
            b.put("inhibit", 0)
            b.put("exit_reason", ExitReason.FP_ERROR)
            b.ret(EXIT)
    allowed = ~(emulated | switched)
    x87 = allowed & ((control & X87_MASKS) == X87_MASKS) & ((b.get("misc_enable") & FOPCODE_COMPATIBILITY) == 0)
    sse = allowed & ((cr4 & CR4_OSFXSR) != 0) & (b.get("mxcsr_masks") == MXCSR_MASKS)
    b.put("fp_ready", x87.zext(64) * READY_X87 | sse.zext(64) * READY_SSE)
    b.ret(OK)


def set_control(b: Context, value: Value) -> None:
    """The guest's x87 control word becomes `value` (i32)."""
    control = (value & CONTROL_WRITABLE) | CONTROL_FIXED
    b.put("fpu_control", control)
    b.put("fp_scratch", control | X87_MASKS)
    b.call(host_fp.FLDCW, b.slot("fp_scratch"))
    b.put("fp_ready", 0)


def set_mxcsr(b: Context, value: Value) -> None:
    """The guest's MXCSR becomes `value` (i32), which has no reserved bit set."""
    b.put("mxcsr_masks", value & MXCSR_MASKS)
    b.put("fp_scratch", value | MXCSR_MASKS)
    b.call(host_fp.LDMXCSR, b.slot("fp_scratch"))
    b.put("fp_ready", 0)


def mxcsr_defined(b: Context) -> Value:
    """The bits of MXCSR that this processor has, i32: the others are #GP(0)."""
    return b.select(features.has(b, "sse2"), b.const(MXCSR_DEFINED | MXCSR_DAZ, 32), MXCSR_DEFINED)


def host_mxcsr(b: Context) -> Value:
    """MXCSR with all masks set, i32."""
    b.call(host_fp.STMXCSR, b.slot("fp_scratch"))
    return b.get("fp_scratch", width=32)


def guest_mxcsr(b: Context) -> Value:
    """MXCSR as the guest sees it, i32."""
    return (host_mxcsr(b) & ~MXCSR_MASKS) | b.get("mxcsr_masks", width=32)


RUNTIME = ((FP_LOAD, _load), (FP_UNLOAD, _unload), (FP_PREPARE, _prepare))
