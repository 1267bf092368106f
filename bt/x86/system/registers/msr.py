"""Model-specific registers, performance counters (SDM vol. 4 chapter 2); the time stamp counter is in timestamp.py.

Each MSR is one line of `REGISTERS`; what is not there, or not in the CPU model, is #GP(0), as on hardware.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import features
from bt.x86.context import GP, OK, Context
from bt.x86.exits import ExitReason
from bt.x86.services import FLUSH_TLB, UPDATE_MODE
from bt.x86.state import EAX, ECX, EDX, FS, GS, SEGMENT_FIELDS, VARIABLE_MTRRS
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.operating_mode import is_paging
from bt.x86.system.registers.control_registers import CR4_PCE, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE
from bt.x86.system.registers.timestamp import (
    set_pair,
    time_ns,
)
from bt.x86.system.segmentation.descriptor import require_cpl_0
from bt.x86.system.segmentation.segment_load import current_privilege_level

# Instruction count; ECX, EDX and EAX as the instructions have them.
READ_MSR = native("read_msr", PTR, "i64")
WRITE_MSR = native("write_msr", PTR, "i64")

TSC, APIC_BASE = 0x10, 0x1B


class Rule(Enum):
    """What else a value must obey, beside having no bits outside `writable`."""

    ANY = "any"
    PAT_TYPES = "eight memory types of the PAT"  # SDM vol. 3A table 12-10: 2 and 3 are reserved
    MTRR_TYPES = "eight memory types of an MTRR"  # table 12-8: 2, 3 and 7 upwards are reserved
    MTRR_TYPE = "one memory type of an MTRR in the low byte"
    CANONICAL = "a canonical address"
    READ_ONLY = "any write is #GP(0)"


@dataclass(frozen=True)
class Register:
    """A register that is a slot of the state, or reads as `value` and forgets writes where `slot` is None.

    It exists where the CPU model has `feature`; if that is among `more`, where it has any of those. Writing a bit
    outside `writable` is #GP(0), but those that `more` has for the model's features.
    """

    number: int
    slot: str | None
    writable: int
    feature: str
    index: int = 0
    rule: Rule = Rule.ANY
    value: int = 0
    more: Mapping[str, int] = field(default_factory=dict)


_32_BITS, _64_BITS = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
_40_BITS = (1 << 40) - 1  # of a performance counter of the P6 family
_ADDRESS = 0xF_FFFF_F000  # page number of a 36-bit physical address
# Eight variable ranges, fixed ranges, write combining (SDM vol. 3A 12.11.1)
MTRR_CAPABILITIES = VARIABLE_MTRRS | 1 << 8 | 1 << 10
FIXED_RANGES = (0x250, 0x258, 0x259, *range(0x268, 0x270))
XD_BIT_DISABLE = 1 << 34  # of IA32_MISC_ENABLE

# Index in the state's `segment` of the base of a segment register
_BASE = {segment: segment * len(SEGMENT_FIELDS) + SEGMENT_FIELDS.index("base") for segment in (FS, GS)}

REGISTERS = (
    Register(0x000, None, 0, "mce"),  # P5_MC_ADDR, P5_MC_TYPE: no machine check has happened
    Register(0x001, None, 0, "mce"),
    Register(0x017, None, 0, "p6 msr"),  # IA32_PLATFORM_ID
    Register(APIC_BASE, "apic_base", _ADDRESS | 0x900, "p6 msr"),  # base, enable, BSP
    Register(0x08B, None, _64_BITS, "p6 msr"),  # IA32_BIOS_SIGN_ID: no microcode revision
    # performance counters and their event selection: nothing counts
    *(Register(number, None, _40_BITS, "p6 counters") for number in (0x0C1, 0x0C2)),
    *(Register(number, None, _32_BITS, "p6 counters") for number in (0x186, 0x187)),
    Register(0x0FE, None, 0, "mtrr", rule=Rule.READ_ONLY, value=MTRR_CAPABILITIES),
    Register(0x174, "sysenter_cs", _32_BITS, "sep"),
    Register(0x175, "sysenter_esp", _32_BITS, "sep", rule=Rule.CANONICAL, more={"lm": _64_BITS}),
    Register(0x176, "sysenter_eip", _32_BITS, "sep", rule=Rule.CANONICAL, more={"lm": _64_BITS}),
    # machine-check architecture (SDM vol. 3B 16.3.1) without a bank that could report an error
    Register(0x179, None, 0, "mca", rule=Rule.READ_ONLY),  # IA32_MCG_CAP
    Register(0x17A, "mcg_status", 7, "mca"),  # RIPV, EIPV, MCIP
    Register(0x1A0, "misc_enable", _32_BITS, "netburst msr", more={"nx": XD_BIT_DISABLE}),
    *(
        register
        for n in range(VARIABLE_MTRRS)
        for register in (
            Register(0x200 + 2 * n, "mtrr_variable", _ADDRESS | 0xFF, "mtrr", 2 * n, Rule.MTRR_TYPE),
            Register(0x201 + 2 * n, "mtrr_variable", _ADDRESS | 1 << 11, "mtrr", 2 * n + 1),
        )
    ),
    *(Register(msr, "mtrr_fixed", _64_BITS, "mtrr", n, Rule.MTRR_TYPES) for n, msr in enumerate(FIXED_RANGES)),
    Register(0x277, "pat", _64_BITS, "pat", rule=Rule.PAT_TYPES),
    Register(0x2FF, "mtrr_default", 0xCFF, "mtrr", rule=Rule.MTRR_TYPE),
    # LMA is not written, but may be among what is: systems write back what they have read
    Register(0xC000_0080, "efer", 0, "nx", more={"nx": EFER_NXE, "syscall": EFER_SCE, "lm": EFER_LME | EFER_LMA}),
    Register(0xC000_0081, "star", _64_BITS, "syscall"),
    Register(0xC000_0082, "lstar", _64_BITS, "lm", rule=Rule.CANONICAL),
    Register(0xC000_0083, "cstar", _64_BITS, "lm", rule=Rule.CANONICAL),
    Register(0xC000_0084, "sfmask", _32_BITS, "syscall"),
    Register(0xC000_0100, "segment", _64_BITS, "lm", _BASE[FS], Rule.CANONICAL),
    Register(0xC000_0101, "segment", _64_BITS, "lm", _BASE[GS], Rule.CANONICAL),
    Register(0xC000_0102, "kernel_gs_base", _64_BITS, "lm", rule=Rule.CANONICAL),
    Register(0xC000_0103, "tsc_aux", _32_BITS, "rdtscp"),
)
# Memory types 0, 1, 4, 5 and 6 are defined for MTRRs, and 7 for the PAT. In bits: none above bit 2, bit 1 only with bit
# 2, and in an MTRR not all three.
_EACH_BYTE = 0x0101_0101_0101_0101


def _is_bad_type(b: Context, value: Value, *, bytes_of: int, pat: bool) -> Value:
    """Whether a byte of `value` (i64), among those with a bit in `bytes_of`, is no memory type, i1."""
    bit_0, bit_1, bit_2 = (value >> n & bytes_of for n in range(3))
    bad = (value & 0xF8 * bytes_of) | (bit_1 & ~bit_2)
    if not pat:
        bad = bad | (bit_0 & bit_1 & bit_2)
    return bad != 0


def _require(b: Context, register: Register) -> None:
    there = features.has(b, register.feature)
    for feature in register.more:
        if register.feature in register.more:
            there = there | features.has(b, feature)
    b.fault_if(~there, GP, 0)


def execute_disable_is_off(b: Context) -> Value:
    """Whether IA32_MISC_ENABLE has taken execute disable away, i1: its CPUID bit is clear, EFER.NXE reserved."""
    return (b.get("misc_enable") & XD_BIT_DISABLE) != 0


def _write_misc_enable(b: Context, value: Value) -> None:
    """Bit 34, XD Bit Disable (SDM vol. 4 table 2-2), disables the feature: what the bit of CPUID allowed is no more.

    So EFER.NXE goes with it, as if it had never been set: bit 63 of a PAE entry is reserved from here on (SDM vol. 3A
    4.4.2), and whoever clears bit 34 again sets NXE anew. What an NXE left behind would do is in no manual.
    """
    b.put("misc_enable", value)
    b.put("fp_ready", 0)
    with b.If(execute_disable_is_off(b) & ((b.get("efer") & EFER_NXE) != 0)):
        b.put("efer", b.get("efer") & ~EFER_NXE)
        b.attempt(FLUSH_TLB, b.cpu, 1)


def _write_efer(b: Context, value: Value) -> None:
    """LME changes only while there is no paging (SDM vol. 3A 10.8.5)."""
    old = b.get("efer")
    b.fault_if(((value & EFER_NXE) != 0) & execute_disable_is_off(b), GP, 0)
    b.fault_if((((old ^ value) & EFER_LME) != 0) & is_paging(b), GP, 0)
    b.put("efer", (value & ~EFER_LMA) | (old & EFER_LMA))
    b.attempt(FLUSH_TLB, b.cpu, 1)  # what may be executed has changed


def _read_msr(b: Context) -> None:
    _, icount = b.arguments
    with b.Switch(b.reg(ECX)) as which:
        with which.case(TSC):
            set_pair(b, time_ns(b, icount) + b.get("tsc_offset"))
        for register in REGISTERS:
            with which.case(register.number):
                _require(b, register)
                set_pair(
                    b, b.const(register.value, 64) if register.slot is None else b.get(register.slot, register.index)
                )
        with which.otherwise():
            b.fault(GP, 0)


def _check(b: Context, register: Register, value: Value) -> None:
    writable = b.const(register.writable, 64)
    for feature, bits in register.more.items():
        writable = b.select(features.has(b, feature), writable | bits, writable)
    b.fault_if((value & ~writable) != 0, GP, 0)
    match register.rule:
        case Rule.PAT_TYPES:
            b.fault_if(_is_bad_type(b, value, bytes_of=_EACH_BYTE, pat=True), GP, 0)
        case Rule.MTRR_TYPES:
            b.fault_if(_is_bad_type(b, value, bytes_of=_EACH_BYTE, pat=False), GP, 0)
        case Rule.READ_ONLY:
            b.fault(GP, 0)
        case Rule.CANONICAL:
            b.fault_if(~is_canonical(value), GP, 0)
        case Rule.MTRR_TYPE:
            b.fault_if(_is_bad_type(b, value & 0xFF, bytes_of=1, pat=False), GP, 0)


def _write_msr(b: Context) -> None:
    _, icount = b.arguments
    value = b.reg(EAX).zext(64) | (b.reg(EDX).zext(64) << 32)
    with b.Switch(b.reg(ECX)) as which:
        with which.case(TSC):
            b.put("tsc_offset", value - time_ns(b, icount))
        for register in REGISTERS:
            with which.case(register.number):
                _require(b, register)
                _check(b, register, value)
                if register.slot == "efer":
                    _write_efer(b, value)
                elif register.slot == "segment":
                    b.put(register.slot, value, register.index)
                    b.attempt(UPDATE_MODE, b.cpu)
                elif register.slot == "misc_enable":
                    _write_misc_enable(b, value)
                elif register.slot is not None:
                    b.put(register.slot, value, register.index)
        with which.otherwise():
            b.fault(GP, 0)
    b.ret(OK)


def rdmsr(b: Context) -> None:
    require_cpl_0(b)
    b.attempt(READ_MSR, b.cpu, b.icount())


def wrmsr(b: Context) -> None:
    """WRMSR: the local APIC, which is on the board, hears of its base by an exit behind the instruction."""
    require_cpl_0(b)
    b.attempt(WRITE_MSR, b.cpu, b.icount())
    b.put("eip", b.next_eip())
    with b.If(b.reg(ECX) == APIC_BASE):
        b.put("exit_address", b.const(APIC_BASE, 64))
        b.put("exit_value", b.get("apic_base"))
        b.put("exit_reason", ExitReason.MSR)
    b.resume()


def rdpmc(b: Context) -> None:
    """RDPMC: the two counters of the P6 family never count; other processors here show none, so that any is #GP(0).

    (NetBurst says in IA32_MISC_ENABLE that performance monitoring is not available.)
    """
    disabled = (b.get("cr4", width=32) & CR4_PCE) == 0
    b.fault_if(disabled & (current_privilege_level(b) != 0), GP, 0)
    b.fault_if(~features.has(b, "p6 counters") | b.reg(ECX).ugt(1), GP, 0)
    set_pair(b, b.const(0, 64))


RUNTIME = ((READ_MSR, _read_msr), (WRITE_MSR, _write_msr))
