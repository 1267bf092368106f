"""Debug exceptions: breakpoints, single step, RF, shadows, general detect (SDM vol. 3B 18.2, 18.3); and NMI."""

from __future__ import annotations

import struct

import pytest

from bt.x86.context import DB, NMI, SS_FAULT
from bt.x86.exits import ExitReason
from bt.x86.reset import read_eflags, write_eflags
from bt.x86.state import EAX, ECX, EDI, EDX, ESP, SS
from guest_images.assembler import assemble
from tests.x86.system.lines import ORIGIN
from tests.x86.system.processor import Processor, code_selector, data_selector

HANDLER, DATA = 0x20000, 0x8000
TF, RF, IF = 1 << 8, 1 << 16, 1 << 9
CR4_DE = 8
EXECUTE, WRITE, PORT, ACCESS = range(4)
BYTE, WORD, DWORD = 0, 1, 3


def enable(number: int, kind: int, length: int = BYTE) -> int:
    """Bits of DR7 for a global breakpoint."""
    return 2 << 2 * number | (kind | length << 2) << 16 + 4 * number


def start(processor: Processor, code: str, *, dr7: int = 0, address: int = 0, eflags: int = 0) -> None:
    """Code at ORIGIN with one address in DR0; handlers that stop for #DB and NMI."""
    cpu = processor.cpu
    processor.write_code(ORIGIN, assemble(code.replace("; ", "\n") + "\nhlt", 32, ORIGIN))
    processor.write_code(HANDLER, assemble("hlt\niretd", 32, HANDLER))
    for vector in (DB, NMI):
        processor.gate(vector, code_selector(0), HANDLER, 0x8E)
    cpu["eip"] = ORIGIN
    cpu["cr4"] = CR4_DE
    cpu["dr", 0], cpu["dr", 7] = address, 0x400 | dr7
    write_eflags(cpu, eflags)
    processor.vcpu.flush()


def next_trap(processor: Processor) -> tuple[int, int, int] | None:
    """Run to the next #DB: EIP pushed (from ORIGIN), EFLAGS pushed, DR6 bits; None if the code ends first."""
    cpu = processor.cpu
    assert processor.vcpu.run(10_000).reason is ExitReason.HLT
    if cpu["eip"] != HANDLER + 1:
        return None
    eip, _, eflags = processor.stack(3)
    dr6 = cpu["dr", 6] & 0xE00F
    cpu["dr", 6] = 0xFFFF0FF0
    return eip - ORIGIN, eflags, dr6


def push_resume_flag(processor: Processor) -> None:
    top = processor.cpu["gpr", ESP]
    eflags = struct.unpack("<I", processor.ram.read(top + 8, 4))[0]
    processor.ram.write(top + 8, struct.pack("<I", eflags | RF))


def trap_places(processor: Processor) -> list[int]:
    places = []
    while (found := next_trap(processor)) is not None:
        places.append(found[0])
        assert len(places) < 100
    return places


def test_instruction_breakpoint_is_a_fault_that_rf_gets_past(engine: Processor) -> None:
    start(engine, "nop; inc eax; nop", dr7=enable(0, EXECUTE), address=ORIGIN + 1)
    eax = engine.cpu["gpr", EAX]
    assert next_trap(engine) == (1, 2, 1)
    assert engine.cpu["gpr", EAX] == eax
    assert next_trap(engine) == (1, 2, 1), "without RF it comes again"
    push_resume_flag(engine)
    assert next_trap(engine) is None
    assert engine.cpu["gpr", EAX] == eax + 1


def test_rf_shields_one_instruction(engine: Processor) -> None:
    start(engine, "nop; nop; jmp 0x10000", dr7=enable(0, EXECUTE), address=ORIGIN)
    assert next_trap(engine) == (0, 2, 1)
    push_resume_flag(engine)
    assert next_trap(engine) == (0, 2, 1), "the next time round"


@pytest.mark.parametrize("dr7", [0, enable(0, WRITE), enable(1, EXECUTE)])
def test_breakpoints_that_do_not_match(engine: Processor, dr7: int) -> None:
    start(engine, "nop; inc eax; mov edx, [0x10000]", dr7=dr7, address=ORIGIN + 1)
    assert next_trap(engine) is None


ACCESSES = [
    ("mov eax, [0x8000]", ACCESS, DWORD, 1),
    ("mov eax, [0x8000]", WRITE, DWORD, 0),
    ("mov [0x8000], eax", WRITE, DWORD, 1),
    ("mov [0x8000], eax", ACCESS, DWORD, 1),
    ("mov [0x8000], al", WRITE, BYTE, 1),
    ("mov [0x8001], al", WRITE, BYTE, 0),
    ("mov [0x8001], al", WRITE, WORD, 1),
    ("mov [0x7fff], ax", WRITE, BYTE, 1),
    ("mov [0x7ffd], eax", WRITE, DWORD, 1),
    ("mov [0x7ffc], eax", WRITE, DWORD, 0),
    ("mov [0x8003], eax", WRITE, DWORD, 1),
    ("mov [0x8004], eax", WRITE, DWORD, 0),
    ("add dword [0x8000], 1", WRITE, DWORD, 1),
    ("cmp dword [0x8000], 1", WRITE, DWORD, 0),
    ("push dword [0x8000]", ACCESS, DWORD, 1),
]


@pytest.mark.parametrize(("code", "kind", "length", "hits"), ACCESSES)
@pytest.mark.parametrize("cpl", [0, 3])
def test_data_breakpoints_trap_after_the_instruction(
    engine: Processor, code: str, kind: int, length: int, hits: int, cpl: int
) -> None:
    start(engine, f"nop; {code}; nop", dr7=enable(2, kind, length))
    engine.cpu["dr", 2] = DATA
    if cpl:
        engine.enter_level(cpl)
    size = len(assemble(code, 32, ORIGIN))
    if hits:
        assert next_trap(engine) == (1 + size, 2, 4)
    elif not cpl:
        assert next_trap(engine) is None


def test_port_breakpoint(engine: Processor) -> None:
    start(engine, "in al, 0x80; out 0x81, al; nop", dr7=enable(0, PORT, BYTE), address=0x80)
    for _ in range(2):
        leave = engine.vcpu.run(100)
        if leave.reason is not ExitReason.IO:
            break
        engine.vcpu.complete(0)
    assert engine.cpu["eip"] == HANDLER + 1
    assert engine.stack(1) == (ORIGIN + 2,)
    assert engine.cpu["dr", 6] & 15 == 1


def test_string_instructions_trap_after_the_iteration(engine: Processor) -> None:
    start(engine, "rep stosb; nop", dr7=enable(0, WRITE, WORD), address=DATA + 2)
    cpu = engine.cpu
    cpu["gpr", EDI], cpu["gpr", ECX] = DATA, 5
    assert next_trap(engine) == (0, 2 | RF, 1), "RF: not the last iteration"
    assert (cpu["gpr", ECX], cpu["gpr", EDI]) == (2, DATA + 3)
    assert next_trap(engine) == (0, 2 | RF, 1)
    assert cpu["gpr", ECX] == 1
    assert next_trap(engine) is None


def test_breakpoint_on_a_string_instruction_comes_once(engine: Processor) -> None:
    start(engine, "rep stosb; nop", dr7=enable(0, EXECUTE), address=ORIGIN)
    engine.cpu["gpr", EDI], engine.cpu["gpr", ECX] = DATA, 5
    assert next_trap(engine) == (0, 2, 1)
    push_resume_flag(engine)
    assert next_trap(engine) is None


def test_both_reasons_at_once(engine: Processor) -> None:
    start(engine, "mov [0x8000], eax; nop", dr7=enable(0, WRITE), address=DATA, eflags=TF)
    assert next_trap(engine) == (5, 2 | TF, 0x4001)


STEPS = [
    ("nop; inc eax; nop", [1, 2, 3]),
    ("mov ss, edx; nop; nop", [3, 4]),  # the trap after MOV SS is lost
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
    engine.write_code(0x30000, assemble("nop\nnop\niretd", 32, 0x30000))
    engine.gate(0x41, code_selector(0), 0x30000, 0x8E)
    assert next_trap(engine) == (3, 2 | TF, 0x4000), "after the instruction that follows IRET"


def test_data_breakpoint_on_mov_ss_waits(engine: Processor) -> None:
    start(engine, "mov ss, [0x8000]; inc eax; nop", dr7=enable(0, ACCESS, WORD), address=DATA)
    engine.ram.write(DATA, struct.pack("<H", data_selector(0)))
    size = len(assemble("mov ss, [0x8000]", 32, ORIGIN))
    assert next_trap(engine) == (size + 1, 2, 1)


def test_breakpoint_behind_mov_ss_is_ignored(engine: Processor) -> None:
    start(engine, "mov ss, edx; nop; nop", dr7=enable(0, EXECUTE), address=ORIGIN + 2)
    engine.cpu["gpr", EDX] = data_selector(0)
    assert next_trap(engine) is None


def test_a_fault_in_the_instruction_forgets_its_hits(engine: Processor) -> None:
    start(engine, "push dword [0x8000]; nop", dr7=enable(0, ACCESS, DWORD), address=DATA)
    engine.cpu.set_segment(SS, "write_high", 0x10)
    engine.cpu["trap_vectors"] = 1 << SS_FAULT
    leave = engine.vcpu.run(10)
    assert (leave.reason, leave.address) == (ExitReason.EXCEPTION, SS_FAULT)
    assert engine.cpu["debug_hits"] == 0


def test_general_detect(engine: Processor) -> None:
    start(engine, "mov eax, dr0; nop", dr7=1 << 13)
    assert next_trap(engine) == (0, 2 | RF, 0x2000)
    assert engine.cpu["dr", 7] & 1 << 13 == 0
    assert next_trap(engine) is None


def test_icebp_reports_nothing(engine: Processor) -> None:
    start(engine, ".byte 0xf1; nop")
    assert next_trap(engine) == (1, 2, 0)


def test_breakpoints_switched_on_and_off_by_the_guest(engine: Processor) -> None:
    """Translated code stops being used and comes back."""
    code = "mov eax, 0x10020; mov dr0, eax; mov eax, 0x402; mov dr7, eax; jmp 0x10020"
    start(engine, code)
    engine.write_code(ORIGIN + 0x20, assemble("nop\nmov eax, 0x400\nmov dr7, eax\njmp 0x10020", 32, ORIGIN + 0x20))
    assert next_trap(engine) == (0x20, 2, 1)
    push_resume_flag(engine)
    assert engine.vcpu.run(1000).reason is ExitReason.BUDGET
    assert engine.cpu["debugging"] == 0


def test_nmi_is_blocked_until_iret(engine: Processor) -> None:
    start(engine, "nop; nop; nop")
    cpu = engine.cpu
    engine.vcpu.nmi()
    assert next_trap(engine) == (0, 2, 0)
    engine.vcpu.nmi()
    cpu["eip"] = ORIGIN + 1  # in the handler still
    assert engine.vcpu.run(100).reason is ExitReason.HLT
    assert cpu["eip"] == ORIGIN + 4, "blocked"
    cpu["eip"] = HANDLER + 1
    assert engine.vcpu.run(100).reason is ExitReason.HLT
    assert cpu["eip"] == HANDLER + 1, "IRET lets the second one in"
    assert engine.stack(1) == (ORIGIN,)


def test_nmi_waits_for_the_instruction_behind_mov_ss(engine: Processor) -> None:
    start(engine, "mov ss, edx; mov esp, 0x9000; nop")
    engine.cpu["gpr", EDX] = data_selector(0)
    assert engine.vcpu.run(1).reason is ExitReason.BUDGET
    engine.vcpu.nmi()
    assert engine.vcpu.run(100).reason is ExitReason.HLT
    assert engine.stack(1) == (ORIGIN + 7,)
    assert read_eflags(engine.cpu) == 2
