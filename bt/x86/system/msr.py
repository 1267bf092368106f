"""Model-specific registers, time stamp and performance counters (SDM vol. 4 chapter 2; vol. 3B 17.17).

Each MSR is one line of `REGISTERS`; what is not there is #GP(0), as on hardware.
"""

from __future__ import annotations

from dataclasses import dataclass

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import GP, OK, Context
from bt.x86.state import EAX, ECX, EDX
from bt.x86.system.control_registers import CR4_TSD
from bt.x86.system.descriptor import require_cpl_0
from bt.x86.system.segment_load import current_privilege_level

# Instruction count; ECX, EDX and EAX as the instructions have them.
READ_MSR = native("read_msr", PTR, "i64")
WRITE_MSR = native("write_msr", PTR, "i64")

TSC, PAT = 0x10, 0x277


@dataclass(frozen=True)
class Register:
    """A register that is a slot of the state, or reads as zero and forgets writes where `slot` is None.

    Writing any bit outside `writable` is #GP(0).
    """

    number: int
    slot: str | None
    writable: int


_32_BITS, _64_BITS = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF

REGISTERS = (
    Register(0x017, None, 0),  # IA32_PLATFORM_ID
    Register(0x01B, "apic_base", 0xFFFF_F900),  # IA32_APIC_BASE: base, enable, BSP; there is no APIC behind it
    Register(0x08B, None, _64_BITS),  # IA32_BIOS_SIGN_ID: no microcode revision
    Register(0x174, "sysenter_cs", _32_BITS),
    Register(0x175, "sysenter_esp", _32_BITS),
    Register(0x176, "sysenter_eip", _32_BITS),
    Register(0x1A0, "misc_enable", _32_BITS),
    Register(PAT, "pat", 0x0707_0707_0707_0707),
)

# Memory types 2 and 3 are reserved (SDM vol. 3A table 11-10): a byte with bit 1 set but not bit 2.
_PAT_BIT_1, _PAT_BIT_2 = 0x0202_0202_0202_0202, 0x0404_0404_0404_0404


def _set_pair(b: Context, value: Value) -> None:
    """EDX:EAX = value (i64)."""
    b.set_reg(EAX, value.trunc(32))
    b.set_reg(EDX, (value >> 32).trunc(32))


def _read_msr(b: Context) -> None:
    _, icount = b.arguments
    with b.Switch(b.reg(ECX)) as which:
        with which.case(TSC):
            _set_pair(b, icount + b.get("tsc_offset"))
        for register in REGISTERS:
            with which.case(register.number):
                _set_pair(b, b.const(0, 64) if register.slot is None else b.get(register.slot))
        with which.otherwise():
            b.fault(GP, 0)


def _write_msr(b: Context) -> None:
    _, icount = b.arguments
    value = b.reg(EAX).zext(64) | (b.reg(EDX).zext(64) << 32)
    with b.Switch(b.reg(ECX)) as which:
        with which.case(TSC):
            b.put("tsc_offset", value - icount)
        for register in REGISTERS:
            with which.case(register.number):
                b.fault_if((value & ~register.writable) != 0, GP, 0)
                if register.number == PAT:
                    b.fault_if((value & _PAT_BIT_1 & ~((value & _PAT_BIT_2) >> 1)) != 0, GP, 0)
                if register.slot is not None:
                    b.put(register.slot, value)
        with which.otherwise():
            b.fault(GP, 0)
    b.ret(OK)


def rdmsr(b: Context) -> None:
    require_cpl_0(b)
    b.attempt(READ_MSR, b.cpu, b.icount())


def wrmsr(b: Context) -> None:
    require_cpl_0(b)
    b.attempt(WRITE_MSR, b.cpu, b.icount())


def rdtsc(b: Context) -> None:
    """RDTSC: one tick an instruction. With CR4.TSD it belongs to level 0."""
    disabled = (b.get("cr4", width=32) & CR4_TSD) != 0
    b.fault_if(disabled & (current_privilege_level(b) != 0), GP, 0)
    _set_pair(b, b.icount() + b.get("tsc_offset"))


def rdpmc(b: Context) -> None:
    """RDPMC: there are no counters, so that every number in ECX is wrong (and CR4.PCE makes no difference)."""
    b.fault(GP, 0)


RUNTIME = ((READ_MSR, _read_msr), (WRITE_MSR, _write_msr))
