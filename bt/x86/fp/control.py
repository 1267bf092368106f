"""Control words of the FP units (SDM vol. 1 8.1.3, 8.1.5, 10.2.3), and what they mean for units that simply execute."""

from __future__ import annotations

from bt.x86.opcodes.fp import READY_SSE, READY_X87
from bt.x86.state import CpuState
from bt.x86.system.registers.control_registers import CR0_EM, CR0_TS, CR4_OSFXSR

CONTROL_WRITABLE, CONTROL_FIXED = 0x1F3F, 0x0040
X87_MASKS = 0x3F  # in the control word; the flags in the status word have the same places
STATUS_SUMMARY = 0x8080  # ES, and B, its mirror
MXCSR_MASKS, MXCSR_FLAGS, MXCSR_MASK_SHIFT = 0x1F80, 0x3F, 7
MXCSR_DEFINED, MXCSR_DAZ = 0xFFBF, 1 << 6  # DAZ came with SSE2 (SDM vol. 1 10.2.3.4, 11.6.3)
FOPCODE_COMPATIBILITY = 1 << 2  # of IA32_MISC_ENABLE: the last opcode is kept for every x87 instruction


def ready_now(state: CpuState) -> int:
    """The READY_* bits that FP_PREPARE (fp_state.py) would find, between two runs."""
    if state["cr0"] & (CR0_EM | CR0_TS):
        return 0
    x87 = state["fpu_control"] & X87_MASKS == X87_MASKS and not state["misc_enable"] & FOPCODE_COMPATIBILITY
    sse = bool(state["cr4"] & CR4_OSFXSR) and state["mxcsr_masks"] == MXCSR_MASKS
    return x87 * READY_X87 | sse * READY_SSE
