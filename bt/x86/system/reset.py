"""The processor after reset (SDM vol. 3A table 10-1), where it is not zero; segments and EIP are the boot code's."""

from __future__ import annotations

from bt.x86.system.control_registers import CR0_CD, CR0_ET, CR0_NW, DR6_FIXED, DR7_FIXED

# (slot of the state, index) -> value
RESET_STATE = {
    ("cr0", 0): CR0_CD | CR0_NW | CR0_ET,
    ("dr", 6): DR6_FIXED,
    ("dr", 7): DR7_FIXED,
    ("idtr_limit", 0): 0xFFFF,
    ("gdtr_limit", 0): 0xFFFF,
    ("apic_base", 0): 0xFEE0_0100,  # bootstrap processor, APIC off
    ("pat", 0): 0x0007_0406_0007_0406,
    ("misc_enable", 0): 1,  # fast strings
    ("fpu_control", 0): 0x0040,
    ("fpu_tag", 0): 0x5555,
}
