"""CPUID: the leaves of the model that the vCPU was given (SDM vol. 2, CPUID; bt/x86/cpu_model.py)."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import OK, Context
from bt.x86.features import FEATURE_WORDS, FEATURES
from bt.x86.state import APIC_BASE_ENABLED, CPUID_LEAVES, EAX, EBX, ECX, EDX, GPR_NAMES
from bt.x86.system.registers.msr import execute_disable_is_off

CPUID = native("cpuid", PTR)

# CPUID waits for all that is under way and is microcode: 100 to 250 cycles, at 1 GHz (Fog, Instruction tables)
CPUID_NS = 200

_STRUCTURED_FEATURES = 7
_ROW_BYTES = 5 * 8  # leaf, eax, ebx, ecx, edx


def _cpuid(b: Context) -> None:
    """The row of the leaf in EAX; the last row when there is none. What is switched off is not shown.

    Leaf 7 has subleaves, in ECX, of which the first is not empty.
    """
    with b.If((b.reg(EAX) == _STRUCTURED_FEATURES) & (b.reg(ECX) != 0) & _shows(b, _STRUCTURED_FEATURES)):
        for register in (EAX, EBX, ECX, EDX):
            b.set_reg(register, b.const(0, 32))
        b.ret(OK)
    wanted, at = b.reg(EAX), b.local(64, 0)
    with b.Loop() as loop:
        row = b.slot("cpuid") + at.get()
        loop.break_if((b.load(row, 32) == wanted) | (at.get() == (CPUID_LEAVES - 1) * _ROW_BYTES))
        at.set(at.get() + _ROW_BYTES)
    row = b.slot("cpuid") + at.get()
    for place, register in enumerate((EAX, EBX, ECX, EDX), 1):
        b.set_reg(register, b.load(row + 8 * place, 32))
    _hide_if(b, row, "nx", execute_disable_is_off(b))
    # SDM vol. 3A, "Local APIC Status and Location": who disables it has a processor without one
    _hide_if(b, row, "apic", (b.get("apic_base") & APIC_BASE_ENABLED) == 0)


def _shows(b: Context, leaf: int) -> Value:
    """Whether the model has a basic leaf, i1: the last row is that of the highest."""
    highest = b.load(b.slot("cpuid") + (CPUID_LEAVES - 1) * _ROW_BYTES, 32)
    return highest.uge(leaf)


def _hide_if(b: Context, row: Value, name: str, is_off: Value) -> None:
    """Do not show a feature, in the leaf that does, that is switched off."""
    word = FEATURE_WORDS[FEATURES[name].word]
    assert word.leaf is not None
    with b.If((b.load(row, 32) == word.leaf) & is_off):
        register = GPR_NAMES.index(word.register)
        b.set_reg(register, b.reg(register) & ~FEATURES[name].mask)


def cpuid(b: Context) -> None:
    b.attempt(CPUID, b.cpu)
    b.pass_time(CPUID_NS)


RUNTIME = ((CPUID, _cpuid),)
