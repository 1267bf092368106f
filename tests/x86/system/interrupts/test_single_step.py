"""Single step: which instructions are followed by a trap, and what it pushes (SDM vol. 3B 18.3.1.4)."""

from __future__ import annotations

import pytest

from bt.x86.exits import ExitReason
from bt.x86.reset import write_eflags
from bt.x86.state import ECX, EDI, EDX
from guest_images.assembler import assemble
from tests.x86.system.interrupts.debugging import (
    BYTE,
    DATA,
    HANDLER,
    IF,
    RF,
    TF,
    WRITE,
    enable,
    next_trap,
    start,
    trap_places,
)
from tests.x86.system.lines import ORIGIN
from tests.x86.system.processor import Processor, code_selector, data_selector

STEPS = [
    ("nop; inc eax; nop", [1, 2, 3]),
    ("mov ss, edx; nop; nop", [3, 4]),  # the trap after MOV SS is lost
    ("mov ss, edx; mov ss, edx; nop", [4, 5]),  # but not that after a second one
    ("push edx; pop ss; nop; nop", [1, 3, 4]),
    ("mov ds, edx; nop", [2, 3]),
    ("rep stosb; nop", [0, 0, 2, 3]),
    ("jmp 0x10004; nop; nop; nop", [4, 5]),
    ("cli; nop", [1, 2]),
    ("pushfd; pop eax; nop", [1, 2, 3]),
    ("and dword [esp], 0; popfd; nop", [4, 5]),  # the trap after the POPFD that clears TF still comes
]


@pytest.mark.parametrize(("code", "places"), STEPS)
def test_single_step(engine: Processor, code: str, places: list[int]) -> None:
    start(engine, code, eflags=TF)
    cpu = engine.cpu
    cpu["gpr", EDX], cpu["gpr", EDI], cpu["gpr", ECX] = data_selector(0), DATA, 3
    found = trap_places(engine)
    assert found == places


def test_popfd_that_sets_tf_traps_one_instruction_later(engine: Processor) -> None:
    start(engine, "push 0x102; popfd; nop; nop")
    assert next_trap(engine) == (7, 2 | TF, 0x4000)


def test_int_is_not_stepped_into(engine: Processor) -> None:
    start(engine, "int 0x41; nop", eflags=TF)
    engine.ram.write(0x30000, assemble("nop\nnop\niretd", 32, 0x30000))
    engine.gate(0x41, code_selector(0), 0x30000, 0x8E)
    assert next_trap(engine) == (3, 2 | TF, 0x4000), "after the instruction that follows IRET"


def test_stepping_over_a_software_interrupt_returns_by_its_iret(engine: Processor) -> None:
    """INT and IRET as such: the trap of IRET is that of TF before it, not of the image."""
    start(engine, "push 2; push 8; push 0x10010; iretd", eflags=TF)
    engine.ram.write(ORIGIN + 0x10, assemble("nop\nhlt", 32, ORIGIN + 0x10))
    found = [next_trap(engine) for _ in range(5)]
    assert [trap and trap[0] for trap in found] == [2, 4, 9, 0x10, None]
    assert found[3] == (0x10, 2, 0x4000)


@pytest.mark.parametrize(("code", "cpl"), [("sysenter", 3), ("sysexit", 0)])
def test_system_calls_are_stepped_into(engine: Processor, code: str, cpl: int) -> None:
    """SYSENTER and SYSEXIT leave TF alone: the trap comes at their target (SDM vol. 2)."""
    start(engine, code)
    engine.enter_level(cpl)
    write_eflags(engine.cpu, TF)
    engine.ram.write(ORIGIN + 0x10, assemble("nop\nhlt", 32, ORIGIN + 0x10))
    cpu = engine.cpu
    cpu["sysenter_cs"], cpu["sysenter_eip"], cpu["sysenter_esp"] = code_selector(0), ORIGIN + 0x10, 0x8000
    cpu["gpr", EDX], cpu["gpr", ECX] = ORIGIN + 0x10, 0x8000
    assert next_trap(engine) == (0x10, 2 | TF, 0x4000)


def test_far_transfers_are_stepped_over(engine: Processor) -> None:
    start(engine, "jmp 8:0x10010", eflags=TF)
    engine.ram.write(ORIGIN + 0x10, assemble("call 8:0x10020\nhlt", 32, ORIGIN + 0x10))
    engine.ram.write(ORIGIN + 0x20, assemble("retf", 32, ORIGIN + 0x20))
    assert trap_places(engine) == [0x10, 0x20, 0x17]


def test_dr6_names_the_newest_breakpoints_and_keeps_the_rest(engine: Processor) -> None:
    """B0 to B3 are those of this exception; BD, BS and BT stay until software clears them (SDM vol. 3B 18.2.3)."""
    start(engine, "nop; mov [0x8000], eax; nop; .byte 0xf1", dr7=enable(0, WRITE), address=DATA, eflags=TF)
    engine.cpu["dr", 6] = 0xFFFF0FF8
    assert next_trap(engine) == (1, 2 | TF, 0x4000)
    engine.cpu["dr", 6] = 0xFFFFAFFE
    assert next_trap(engine) == (6, 2 | TF, 0xE001)
    engine.cpu["dr", 6] = 0xFFFF8FFF
    assert next_trap(engine) == (7, 2 | TF, 0xC000)
    engine.cpu["dr", 6] = 0xFFFF2FF6
    assert next_trap(engine) == (8, 2 | TF, 0x2000), "INT1 has no bit"


def test_single_step_and_breakpoint_of_a_repeated_instruction(engine: Processor) -> None:
    start(engine, "rep stosb; nop", dr7=enable(0, WRITE, BYTE), address=DATA + 1, eflags=TF)
    engine.cpu["gpr", EDI], engine.cpu["gpr", ECX] = DATA, 3
    found = [next_trap(engine) for _ in range(5)]
    between = 2 | TF | RF
    assert found == [(0, between, 0x4000), (0, between, 0x4001), (2, 2 | TF, 0x4000), (3, 2 | TF, 0x4000), None]


@pytest.mark.parametrize("bits", [0, TF])
def test_an_interrupt_between_iterations_pushes_rf(engine: Processor, bits: int) -> None:
    start(engine, "rep stosb; nop", eflags=IF | bits)
    cpu = engine.cpu
    cpu["gpr", EDI], cpu["gpr", ECX] = DATA, 10_000
    engine.gate(0x50, code_selector(0), HANDLER, 0x8E)
    assert engine.vcpu.run(1).reason is ExitReason.BUDGET
    if not bits:
        cpu["intr_pending"] = 1
        assert engine.vcpu.run(10).reason is ExitReason.INTERRUPT_WINDOW
        cpu["intr_pending"] = 0
        engine.vcpu.interrupt(0x50)
    assert engine.vcpu.run(10).reason is ExitReason.HLT
    eip, _, eflags = engine.stack(3)
    assert (eip - ORIGIN, eflags) == (0, 2 | RF | IF | bits)
    assert 0 < cpu["gpr", ECX] < 10_000
