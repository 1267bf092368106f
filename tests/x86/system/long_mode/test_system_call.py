"""SYSCALL, SYSRET, SYSENTER, SYSEXIT in long mode, and the way in and out of it (SDM vol. 2; vol. 3A 5.8, 10.8.5)."""

from __future__ import annotations

import pytest

from bt.x86 import cpu_model, flags, reset
from bt.x86.context import EXIT, GP, UD
from bt.x86.exits import ExitReason
from bt.x86.state import APIC_BASE_ENABLED, CS, EAX, ECX, EDX, ESP, GS, SS
from bt.x86.system.registers.control_registers import (
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    EFER_SCE,
)
from tests.x86.system.long_mode.long_processor import LONG_CODE, LongProcessor
from tests.x86.system.processor import Trouble, code_selector

RETURN, ENTRY, HOLE = 0x7FFF_FFFF_F000, 0xFFFF_8000_0000_1000, 1 << 47
MODE_64 = 1 << 12
EFER, STAR, LSTAR, SFMASK, FS_BASE, GS_BASE, KERNEL_GS_BASE = (
    0xC000_0080, 0xC000_0081, 0xC000_0082, 0xC000_0084, 0xC000_0100, 0xC000_0101, 0xC000_0102,
)  # fmt: skip


def wrmsr(processor: LongProcessor, number: int, value: int) -> Trouble | None:
    cpu = processor.cpu
    cpu["gpr", ECX], cpu["gpr", EAX], cpu["gpr", EDX] = number, value & 0xFFFF_FFFF, value >> 32
    return processor.call("write_msr", 0)


def rdmsr(processor: LongProcessor, number: int) -> int:
    cpu = processor.cpu
    cpu["gpr", ECX] = number
    assert processor.call("read_msr", 0) is None
    return cpu["gpr", EDX] << 32 | cpu["gpr", EAX]


@pytest.fixture
def calls(processor: LongProcessor) -> LongProcessor:
    cpu_model.parse("qemu64").install(processor.cpu)
    for number, value in ((STAR, 0x0023_0010 << 32), (LSTAR, ENTRY), (SFMASK, flags.IF | flags.DF | flags.CF)):
        assert wrmsr(processor, number, value) is None
    return processor


def test_syscall(calls: LongProcessor) -> None:
    cpu = calls.cpu
    calls.enter_long(3)
    reset.write_eflags(cpu, flags.IF | flags.CF | flags.ZF | flags.DF)
    assert calls.call("syscall", RETURN) is None
    assert (cpu["gpr", ECX], cpu["gpr", 11]) == (RETURN, flags.IF | flags.CF | flags.ZF | flags.DF | 2)
    assert (cpu["eip"], cpu["cpl"]) == (ENTRY, 0)
    assert calls.selectors == (0x10, 0x18)
    assert reset.read_eflags(cpu) == flags.ZF | 2
    assert cpu["mode"] & MODE_64
    assert cpu.segment(SS, "limit") == 0xFFFF_FFFF


@pytest.mark.parametrize("width", [32, 64])
def test_sysret(calls: LongProcessor, width: int) -> None:
    cpu = calls.cpu
    cpu["gpr", ECX], cpu["gpr", 11] = RETURN, flags.IF | flags.CF | flags.RF | flags.VM | 1 << 63
    assert calls.call("sysret", width) is None
    assert cpu["cpl"] == 3
    assert calls.selectors == ((0x33 if width == 64 else 0x23), 0x2B)
    assert bool(cpu["mode"] & MODE_64) == (width == 64)
    assert cpu["eip"] == (RETURN if width == 64 else RETURN & 0xFFFF_FFFF)
    assert reset.read_eflags(cpu) == flags.IF | flags.CF | 2


def test_sysret_to_where_nothing_can_be_faults_at_level_0(calls: LongProcessor) -> None:
    """As Intel's processors do (CVE-2012-0217)."""
    calls.cpu["gpr", ECX] = HOLE
    assert calls.call("sysret", 64) == Trouble(GP, 0)
    assert calls.cpu["cpl"] == 0
    assert calls.call("sysret", 32) is None


def test_who_may(calls: LongProcessor) -> None:
    calls.enter_long(3)
    assert calls.call("sysret", 64) == Trouble(GP, 0)
    calls.cpu["efer"] &= ~EFER_SCE
    assert calls.call("sysret", 64) == calls.call("syscall", RETURN) == Trouble(UD, None)
    calls.cpu["efer"] |= EFER_SCE
    calls.code(code_selector(3), 3, flags=0xC)
    assert calls.call("syscall", RETURN) == Trouble(UD, None)


def test_sysenter_and_sysexit(calls: LongProcessor) -> None:
    cpu = calls.cpu
    for number, value in ((0x174, 0x10), (0x175, 0xFFFF_8000_0000_2000), (0x176, ENTRY)):
        assert wrmsr(calls, number, value) is None
    calls.enter_long(3)
    calls.code(code_selector(3), 3, flags=0xC)
    assert calls.call("system_call_enter") is None
    assert (cpu["eip"], cpu["gpr", ESP], cpu["cpl"]) == (ENTRY, 0xFFFF_8000_0000_2000, 0)
    assert calls.selectors == (0x10, 0x18)
    assert cpu["mode"] & MODE_64
    cpu["gpr", EDX], cpu["gpr", ECX] = RETURN, 0x1_0000_3000
    assert calls.call("system_call_exit", 64) is None
    assert (cpu["eip"], cpu["gpr", ESP], calls.selectors) == (RETURN, 0x1_0000_3000, (0x33, 0x3B))
    calls.enter_long(0)
    cpu["gpr", EDX], cpu["gpr", ECX] = RETURN, 0x1_0000_3000
    assert calls.call("system_call_exit", 32) is None
    assert (cpu["eip"], cpu["gpr", ESP], calls.selectors) == (0xFFFF_F000, 0x3000, (0x23, 0x2B))
    assert not cpu["mode"] & MODE_64
    calls.enter_long(0)
    cpu["gpr", EDX], cpu["gpr", ECX] = RETURN, HOLE
    assert calls.call("system_call_exit", 64) == Trouble(GP, 0)


def test_bases(calls: LongProcessor) -> None:
    for number in (FS_BASE, GS_BASE, KERNEL_GS_BASE, LSTAR, 0x175):
        assert wrmsr(calls, number, HOLE) == Trouble(GP, 0)
        assert wrmsr(calls, number, ENTRY + number) is None
        assert rdmsr(calls, number) == ENTRY + number
    assert calls.cpu.segment(GS, "base") == ENTRY + GS_BASE


def test_a_model_without_long_mode_has_none_of_this(processor: LongProcessor) -> None:
    cpu_model.parse("pentium4,+nx").install(processor.cpu)
    for number in (STAR, LSTAR, SFMASK, FS_BASE, KERNEL_GS_BASE):
        assert wrmsr(processor, number, 0) == Trouble(GP, 0)
    processor.cpu["efer"] = 0
    assert wrmsr(processor, EFER, EFER_LME) == Trouble(GP, 0)
    assert wrmsr(processor, EFER, EFER_NXE) is None
    assert wrmsr(processor, 0x175, 1 << 32) == Trouble(GP, 0)


# -- EFER and CR0 ----------------------------------------------------------------------------------------------------


def test_the_way_in_and_out(calls: LongProcessor) -> None:
    cpu = calls.cpu
    calls.code(code_selector(0), 0, flags=0xC)
    assert calls.call("write_control_register", 0, CR0_PE) is None
    assert cpu["efer"] & (EFER_LMA | EFER_LME) == EFER_LME
    assert wrmsr(calls, EFER, 0) is None
    assert wrmsr(calls, EFER, EFER_LME) is None
    assert calls.call("write_control_register", 4, 0) is None
    assert calls.call("write_control_register", 0, CR0_PE | CR0_PG) == Trouble(GP, 0)  # without PAE
    assert calls.call("write_control_register", 4, CR4_PAE) is None
    calls.code(LONG_CODE[0], 0, flags=0xA)
    assert calls.call("write_control_register", 0, CR0_PE | CR0_PG) == Trouble(GP, 0)  # from CS.L
    calls.code(code_selector(0), 0, flags=0xC)
    assert calls.call("write_control_register", 0, CR0_PE | CR0_PG) is None
    assert cpu["efer"] == EFER_LMA | EFER_LME
    assert not cpu["mode"] & MODE_64
    assert calls.call("far_jump", LONG_CODE[0], 0x1000, 0) is None
    assert cpu["mode"] & MODE_64


def test_what_long_mode_holds_on_to(calls: LongProcessor) -> None:
    assert calls.call("write_control_register", 0, CR0_PE) == Trouble(GP, 0)  # from 64-bit code
    assert calls.call("write_control_register", 4, 0) == Trouble(GP, 0)
    assert calls.call("write_control_register", 0, CR0_PE | CR0_PG | 1 << 32) == Trouble(GP, 0)
    assert calls.call("write_control_register", 4, CR4_PAE | 1 << 32) == Trouble(GP, 0)
    assert calls.call("write_control_register", 3, 1 << 40) == Trouble(GP, 0)
    assert calls.call("write_control_register", 8, 16) == Trouble(GP, 0)
    assert wrmsr(calls, EFER, EFER_SCE) == Trouble(GP, 0)  # LME with paging
    assert wrmsr(calls, EFER, EFER_LME | EFER_LMA) is None
    assert rdmsr(calls, EFER) == EFER_LME | EFER_LMA
    assert wrmsr(calls, EFER, EFER_LME) is None  # LMA is not written
    assert rdmsr(calls, EFER) == EFER_LME | EFER_LMA
    assert wrmsr(calls, EFER, EFER_LME | 2) == Trouble(GP, 0)


def test_cr8_is_a_register_of_the_local_apic(calls: LongProcessor) -> None:
    """Its task priority, at bits 4 to 7 (SDM vol. 3A 10.8.6.1); who has disabled it keeps the number himself."""
    cpu = calls.cpu
    assert calls.status("write_control_register", 8, 9) == EXIT
    access = tuple(cpu[f"exit_{part}"] for part in ("reason", "address", "size", "write", "value"))
    assert access == (ExitReason.MMIO, 0xFEE0_0080, 4, 1, 0x90)
    cpu["exit_reason"] = 0
    cpu["apic_base"] &= ~APIC_BASE_ENABLED
    assert calls.call("write_control_register", 8, 9) is None
    assert cpu["cr8"] == 9


def test_code_segment_may_be_of_another_size(calls: LongProcessor) -> None:
    assert calls.call("far_jump", code_selector(0), 0x1000, 0) is None
    assert calls.cpu.segment(CS, "selector") == code_selector(0)
    assert not calls.cpu["mode"] & MODE_64
