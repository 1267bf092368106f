"""CPUID: the processor bt shows (SDM vol. 2, CPUID): a P6 without APIC, MMX, SSE and PAE."""

from __future__ import annotations

from dataclasses import dataclass

from bt.codegen.abi import native
from bt.codegen.value import PTR
from bt.x86.context import Context
from bt.x86.state import EAX, EBX, ECX, EDX

CPUID = native("cpuid", PTR)

# Leaf 1 EDX (SDM vol. 2, CPUID, "Feature Information Returned in the EDX Register")
FEATURES = {
    "fpu": 0, "vme": 1, "de": 2, "pse": 3, "tsc": 4, "msr": 5, "cx8": 8, "sep": 11, "pge": 13, "cmov": 15, "pat": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Leaf:
    """What one leaf answers, 32 bits each."""

    eax: int
    ebx: int
    ecx: int
    edx: int


def _register(text: str) -> int:
    return int.from_bytes(text.encode(), "little")


# Family 6, model 7 (Pentium III), stepping 3. Stepping and model matter to guests: earlier P6 had a broken SYSENTER.
SIGNATURE = 0x0673

LEAVES = {
    0: Leaf(2, _register("Genu"), _register("ntel"), _register("ineI")),
    1: Leaf(SIGNATURE, 0, 0, sum(1 << bit for bit in FEATURES.values())),
    # Cache and TLB descriptors: 4K and 4M TLBs of 32-64 entries, 16 KiB L1 code and data, 512 KiB L2
    2: Leaf(0x0302_0101, 0, 0, 0x0C04_0843),
}
# Beyond the highest basic leaf a processor without extended leaves answers as for the highest one.
HIGHEST = max(LEAVES)


def _cpuid(b: Context) -> None:
    def answer(leaf: Leaf) -> None:
        for register, value in ((EAX, leaf.eax), (EBX, leaf.ebx), (ECX, leaf.ecx), (EDX, leaf.edx)):
            b.set_reg(register, b.const(value, 32))

    with b.Switch(b.reg(EAX)) as which:
        for number, leaf in LEAVES.items():
            with which.case(number):
                answer(leaf)
        with which.otherwise():
            answer(LEAVES[HIGHEST])


def cpuid(b: Context) -> None:
    b.attempt(CPUID, b.cpu)


RUNTIME = ((CPUID, _cpuid),)
