"""FP instructions while the guest has some exception unmasked (SDM vol. 1 8.5, 11.5).

x87: an unmasked exception is reported by the *next* instruction that waits, so the instruction itself can be executed
with the guest's own control word: whatever it leaves behind - a biased result, operands untouched, no store - is right
by construction. The registers are then put away without waiting and come back with all masks set.

SSE: the exception comes at once, so the instruction runs with all masks set and is undone when a flag was raised that
the guest does not mask.
"""

from __future__ import annotations

from bt.codegen import host_fp
from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import OK, UD, XM, Context
from bt.x86.fp.control import MXCSR_FLAGS, MXCSR_MASK_SHIFT, MXCSR_MASKS, STATUS_SUMMARY, X87_MASKS
from bt.x86.fp.fp_state import FX_CONTROL, FX_MXCSR, FX_STATUS, THUNK, host_mxcsr, host_status
from bt.x86.system.registers.control_registers import CR4_OSXMMEXCPT

# thunk, operand, general register; its result in memory_value. The first never fails, and leaves in fp_scratch which
# unmasked exceptions the instruction raised.
EXECUTE_X87 = native("execute_x87", PTR, PTR, PTR, "i64")
EXECUTE_SSE = native("execute_sse", PTR, PTR, PTR, "i64")

# Flags and masks of MXCSR and of the x87 words (SDM vol. 1 10.2.3, 8.1.3)
INVALID, DENORMAL, ZERO_DIVIDE, OVERFLOW, UNDERFLOW, PRECISION = (1 << n for n in range(6))
_BEFORE_COMPUTING = INVALID | DENORMAL | ZERO_DIVIDE
_UNDERFLOW_MASK, _FLUSH_TO_ZERO = UNDERFLOW << MXCSR_MASK_SHIFT, 1 << 15


def _execute_x87(b: Context) -> None:
    _, thunk, operand, register = b.arguments
    # With IGNNE# an exception may be pending; unmasked it would be reported to bt, by a signal.
    with b.If((host_status(b) & ~b.get("fpu_control", width=32) & X87_MASKS) != 0):
        b.put("memory_value", b.call_pointer(thunk, THUNK, operand, register))
        b.put("fp_scratch", 0)
        b.ret(OK)
    b.call(host_fp.FLDCW, b.slot("fpu_control"))
    b.put("memory_value", b.call_pointer(thunk, THUNK, operand, register))
    b.call(host_fp.FXSAVE, b.slot("fp_image"))
    b.call(host_fp.FNCLEX)  # FXRSTOR would report what is pending
    image = b.slot("fp_image")
    control, status = b.load(image + FX_CONTROL, 16), b.load(image + FX_STATUS, 16)
    pending = status & ~control & X87_MASKS
    b.store(image + FX_CONTROL, control | X87_MASKS)
    b.store(image + FX_STATUS, status & ~STATUS_SUMMARY)
    b.call(host_fp.FXRSTOR, image)
    b.put("fp_scratch", pending)
    # all but an inexact result keep a store from happening
    with b.If((pending & ~PRECISION) != 0):
        b.put("fp_operand_size", 0)


def _run_masked(b: Context, thunk: Value, operand: Value, register: Value, extra: Value | int) -> Value:
    """Run the thunk with all exceptions masked and all flags clear; answers the flags it raised, i32."""
    clean = (host_mxcsr(b) & ~(MXCSR_FLAGS | _FLUSH_TO_ZERO)) | extra
    b.put("fp_scratch", clean)
    b.call(host_fp.LDMXCSR, b.slot("fp_scratch"))
    b.put("memory_value", b.call_pointer(thunk, THUNK, operand, register))
    return host_mxcsr(b) & MXCSR_FLAGS


def _undo(b: Context) -> None:
    b.call(host_fp.FXRSTOR, b.slot("fp_saved"))


def _execute_sse(b: Context) -> None:
    """What is tiny but exact raises an unmasked underflow and no masked one; flushing to zero shows it."""
    _, thunk, operand, register = b.arguments
    before = host_mxcsr(b)
    masks = b.get("mxcsr_masks", width=32)
    unmasked = (masks ^ MXCSR_MASKS) >> MXCSR_MASK_SHIFT
    underflows = (unmasked & UNDERFLOW) != 0
    b.call(host_fp.FXSAVE, b.slot("fp_saved"))
    raised = b.local(32, 0)
    with b.If(underflows):
        raised.set(_run_masked(b, thunk, operand, register, _FLUSH_TO_ZERO) & UNDERFLOW)
        _undo(b)
    plain = b.select(underflows, b.const(0, 32), before & _FLUSH_TO_ZERO)
    raised.set(raised.get() | _run_masked(b, thunk, operand, register, plain))
    flags = raised.get()
    early = (flags & unmasked & _BEFORE_COMPUTING) != 0
    # an operand that is refused is never computed with: the flags of a result do not come up
    flags = b.select(early, flags & _BEFORE_COMPUTING, flags)
    b.put("fp_scratch", before | flags)
    with b.If((flags & unmasked) == 0):
        b.call(host_fp.LDMXCSR, b.slot("fp_scratch"))
        b.ret(OK)
    b.store(b.slot("fp_saved") + FX_MXCSR, before | flags)
    _undo(b)
    b.fault_if((b.get("cr4", width=32) & CR4_OSXMMEXCPT) == 0, UD)
    b.fault(XM)


RUNTIME = ((EXECUTE_X87, _execute_x87), (EXECUTE_SSE, _execute_sse))
