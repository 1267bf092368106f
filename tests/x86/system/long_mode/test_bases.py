"""RDFSBASE and its like, SWAPGS, RDTSCP, as instructions: behind their bits of CPUID and CR4 (SDM vol. 2)."""

from __future__ import annotations

from bt.x86.context import GP, UD
from bt.x86.state import EAX, ECX, FS, GS
from bt.x86.system.registers.control_registers import CR4_FSGSBASE
from tests.x86.system.long_mode.long_processor import LongProcessor

RDFSBASE_RAX, RDGSBASE_EAX = b"\xf3\x48\x0f\xae\xc0", b"\xf3\x0f\xae\xc8"
WRFSBASE_RAX, WRGSBASE_EAX = b"\xf3\x48\x0f\xae\xd0", b"\xf3\x0f\xae\xd8"
SWAPGS, RDTSCP = b"\x0f\x01\xf8", b"\x0f\x01\xf9"
BASE, HOLE = 0xFFFF_8000_1234_5678, 1 << 47


def test_bases_are_read_and_written(everything: LongProcessor) -> None:
    cpu = everything.cpu
    cpu["gpr", EAX] = BASE
    assert everything.execute(WRFSBASE_RAX) is None
    assert everything.execute(WRGSBASE_EAX) is None
    assert (cpu.segment(FS, "base"), cpu.segment(GS, "base")) == (BASE, BASE & 0xFFFF_FFFF)
    cpu.set_segment(GS, "base", BASE)
    assert everything.execute(RDGSBASE_EAX) is None
    assert cpu["gpr", EAX] == BASE & 0xFFFF_FFFF
    assert everything.execute(RDFSBASE_RAX) is None
    assert cpu["gpr", EAX] == BASE
    cpu["gpr", EAX] = HOLE
    assert everything.execute(WRFSBASE_RAX) == GP


def test_they_are_undefined_without_the_bit_of_cr4(everything: LongProcessor) -> None:
    everything.cpu["cr4"] &= ~CR4_FSGSBASE
    for code in (RDFSBASE_RAX, RDGSBASE_EAX, WRFSBASE_RAX, WRGSBASE_EAX):
        assert everything.execute(code) == UD


def test_swapgs(everything: LongProcessor) -> None:
    cpu = everything.cpu
    cpu.set_segment(GS, "base", 1)
    cpu["kernel_gs_base"] = BASE
    assert everything.execute(SWAPGS) is None
    assert (cpu.segment(GS, "base"), cpu["kernel_gs_base"]) == (BASE, 1)


def test_rdtscp(everything: LongProcessor) -> None:
    everything.cpu["tsc_aux"] = 0x1234_5678
    everything.cpu["gpr", ECX] = BASE
    assert everything.execute(RDTSCP) is None
    assert everything.cpu["gpr", ECX] == 0x1234_5678
