"""Debug exceptions: breakpoints, RF, shadows, general detect, tasks (SDM vol. 3B 18.2, 18.3); and NMI."""

from __future__ import annotations

import struct

import pytest

from bt.memory.bus import NATIVE_READ, NATIVE_WRITE
from bt.x86.context import DB, SS_FAULT
from bt.x86.exits import ExitReason
from bt.x86.reset import power_on, read_eflags, write_eflags
from bt.x86.state import CS, EAX, ECX, EDI, EDX, ESP, SS
from bt.x86.system.segmentation.segment_cache import fill
from guest_images.assembler import assemble
from tests.x86.system.interrupts.debugging import (
    ACCESS,
    BYTE,
    DATA,
    DWORD,
    EXECUTE,
    HANDLER,
    PORT,
    RF,
    TF,
    WORD,
    WRITE,
    enable,
    next_trap,
    push_resume_flag,
    start,
)
from tests.x86.system.lines import ORIGIN
from tests.x86.system.processor import (
    GDT,
    IDT,
    SPARE,
    STACKS,
    TSS,
    Processor,
    code_selector,
    data_selector,
    descriptor,
)


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


@pytest.mark.parametrize("virtual", [False, True])
@pytest.mark.parametrize(("eflags", "size", "shielded"), [(2, 32, False), (2 | RF, 32, True), (2, 16, False)])
def test_iret_of_the_8086_loads_rf(engine: Processor, virtual: bool, eflags: int, size: int, shielded: bool) -> None:
    """In real mode, and in virtual-8086 mode with IOPL 3: from a 32-bit image (SDM vol. 2, IRET)."""
    start(engine, "nop", dr7=enable(0, EXECUTE), address=ORIGIN + 0x100)
    cpu = engine.cpu
    engine.ram.write(ORIGIN, bytes.fromhex("66cf" if size == 32 else "cf"))
    engine.ram.write(ORIGIN + 0x100, b"\x90\xf4")
    if not virtual:
        cpu["cr0"], cpu["idtr_base"], cpu["idtr_limit"] = 0x10, 0, 0x3FF
        engine.ram.write(4, struct.pack("<HH", 0, HANDLER >> 4))
    for segment in range(6):
        selector = ORIGIN >> 4 if segment == CS else 0
        access = 0xF3 if virtual else 0x93
        fill(cpu, segment, selector=selector, base=selector << 4, limit=0xFFFF, access=access, big=False)
    cpu["cpl"], cpu["eip"] = 3 if virtual else 0, 0
    iopl = 0x3000 if virtual else 0
    write_eflags(cpu, 2 | iopl | (0x20000 if virtual else 0))
    engine.push(0x100, ORIGIN >> 4, eflags | iopl, width=size)
    engine.vcpu.flush()
    cpu["trap_vectors"] = (1 << 32) - 1
    leave = engine.vcpu.run(100)
    assert cpu["eip"] == (0x102 if shielded and not virtual else 0x101 if shielded else 0x100)
    assert (leave.reason is ExitReason.EXCEPTION and leave.address == DB) != shielded


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


def test_port_breakpoint_without_debug_extensions(engine: Processor) -> None:
    """R/W 2 is undefined while CR4.DE is clear (SDM vol. 3B 17.2.4): it watches nothing."""
    start(engine, "out 0x80, al; in al, 0x80", dr7=enable(0, PORT), address=0x80)
    engine.cpu["cr4"] = 0
    engine.vcpu.port_access[0x80] = NATIVE_READ | NATIVE_WRITE  # no exits
    assert next_trap(engine) is None


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


def test_data_breakpoint_on_mov_ss_before_int_comes_in_the_handler(engine: Processor) -> None:
    """Its trap waits for the next instruction, which has changed the level by then."""
    start(engine, "mov ss, [0x8000]; int 0x41; nop", dr7=enable(0, ACCESS, WORD), address=DATA)
    engine.ram.write(DATA, struct.pack("<H", data_selector(0)))
    engine.ram.write(HANDLER + 0x100, assemble("nop\nhlt", 32, HANDLER + 0x100))
    engine.gate(0x41, code_selector(0), HANDLER + 0x100, 0x8E)
    assert next_trap(engine) == (HANDLER + 0x100 - ORIGIN, 2, 1)


@pytest.mark.parametrize(
    ("code", "traps"),
    [
        (".byte 0xf1", [(1, 1), None]),  # both are one exception
        (".byte 0x2e, 0x2e, 0xf1", [(3, 1), None]),
        ("int 1", [(HANDLER - ORIGIN, 1), (2, 0), None]),  # the second comes before the handler's first instruction
    ],
)
def test_data_breakpoint_on_mov_ss_before_int1(
    engine: Processor, code: str, traps: list[tuple[int, int] | None]
) -> None:
    """One debug exception with INT1, two with INT 1: so the `debug` of kvm-unit-tests has it."""
    load = "mov ss, [0x8000]"
    start(engine, f"{load}; {code}; nop", dr7=enable(0, ACCESS, WORD), address=DATA)
    engine.ram.write(DATA, struct.pack("<H", data_selector(0)))
    size = len(assemble(load, 32, ORIGIN))
    wanted = [trap and (trap[0] + (size if trap[0] < 0x100 else 0), 2, trap[1]) for trap in traps]
    assert [next_trap(engine) for _ in traps] == wanted


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
    engine.cpu["dr", 6] = 0xFFFF4FF5
    assert next_trap(engine) == (0, 2 | RF, 0x6000)
    assert engine.cpu["dr", 7] & 1 << 13 == 0
    assert next_trap(engine) is None


def test_icebp_reports_nothing(engine: Processor) -> None:
    start(engine, ".byte 0xf1; nop")
    assert next_trap(engine) == (1, 2, 0)


def test_breakpoints_switched_on_and_off_by_the_guest(engine: Processor) -> None:
    """Translated code stops being used and comes back."""
    code = "mov eax, 0x10020; mov dr0, eax; mov eax, 0x402; mov dr7, eax; jmp 0x10020"
    start(engine, code)
    engine.ram.write(ORIGIN + 0x20, assemble("nop\nmov eax, 0x400\nmov dr7, eax\njmp 0x10020", 32, ORIGIN + 0x20))
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


# The processor reads and writes its tables and stacks by linear addresses like any other (SDM vol. 3B 18.2.4 leaves
# no access out; QEMU and Bochs do the same): what runs, what is watched, where the trap comes
OWN_ACCESSES = [
    ("mov ds, edx; nop", ACCESS, GDT + data_selector(0), 2),
    ("mov ds, edx; nop", WRITE, GDT + data_selector(0), None),  # accessed already
    ("int 0x41; nop", ACCESS, IDT + 8 * 0x41, HANDLER + 0x100 - ORIGIN),
    ("int 0x41; nop", WRITE, STACKS[0] - 12, HANDLER + 0x100 - ORIGIN),
    ("ud2; nop", ACCESS, IDT + 8 * 6, HANDLER + 0x100 - ORIGIN),
    ("int 0x41; nop", ACCESS, IDT + 8 * 0x42, None),
    ("ltr di; nop", WRITE, GDT + SPARE + 4, 3),
]


@pytest.mark.parametrize(("code", "kind", "address", "place"), OWN_ACCESSES)
def test_the_processors_own_accesses_hit_breakpoints(
    engine: Processor, code: str, kind: int, address: int, place: int | None
) -> None:
    start(engine, code, dr7=enable(0, kind, DWORD), address=address)
    engine.cpu["gpr", EDX], engine.cpu["gpr", EDI] = data_selector(0), SPARE
    engine.describe(SPARE, descriptor(TSS, 0x7FF, 0x89, 0))
    engine.ram.write(HANDLER + 0x100, assemble("nop\nhlt", 32, HANDLER + 0x100))
    for vector in (6, 0x41):
        engine.gate(vector, code_selector(0), HANDLER + 0x100, 0x8E)
    found = next_trap(engine)
    assert (found and found[0]) == place


@pytest.mark.parametrize("budget", [1, 2, 3, 7])
def test_where_a_run_ends_between_debug_exceptions_does_not_show(engine: Processor, budget: int) -> None:
    """Each delivery of #DB hits the breakpoint again and costs an instruction, wherever budgets end."""
    seen = []
    for step in (42, budget):
        engine.start()
        start(engine, "nop; nop", dr7=enable(0, ACCESS, DWORD), address=IDT + 8 * DB, eflags=TF)
        for _ in range(42 // step):
            assert engine.vcpu.run(step).reason is ExitReason.BUDGET
        seen.append((engine.cpu["eip"], engine.cpu["gpr", ESP], engine.cpu["dr", 6]))
    assert seen[0] == seen[1]


def test_a_breakpoint_on_the_way_to_its_own_handler_ends_with_the_budget(engine: Processor) -> None:
    start(engine, "nop; nop", dr7=enable(0, ACCESS, DWORD), address=IDT + 8 * DB, eflags=TF)
    before = engine.vcpu.instructions
    assert engine.vcpu.run(100).reason is ExitReason.BUDGET
    assert engine.vcpu.instructions - before == 100


NESTED = 1 << 14
# how a task comes to run: the instruction, and whether it runs as a nested one
SWITCHES = {
    "jmp": (f"jmp {SPARE}:0", 0),
    "call": (f"call {SPARE}:0", NESTED),
    "int": ("int 0x41", NESTED),
    "fault": ("ud2", NESTED),
    "iret": ("iretd", 0),
}


def start_task(processor: Processor, how: str, *, eflags: int, trap: int = 0) -> None:
    """A switch to a task at ORIGIN + 100h, with a breakpoint on its first instruction."""
    start(processor, SWITCHES[how][0], dr7=enable(0, EXECUTE), address=ORIGIN + 0x100)
    processor.ram.write(ORIGIN + 0x100, assemble("nop\nhlt", 32, ORIGIN + 0x100))
    processor.describe(SPARE, descriptor(0x6000, 0x67, 0x8B if how == "iret" else 0x89, 0))
    data, code = data_selector(0), code_selector(0)
    image = struct.pack("<32xII16xI12x6IIHH", ORIGIN + 0x100, eflags, STACKS[1], data, code, *[data] * 4, 0, trap, 104)
    processor.ram.write(0x6000, image)
    for vector in (6, 0x41):
        processor.ram.write(IDT + 8 * vector, struct.pack("<HHHH", 0, SPARE, 0x8500, 0))
    if how == "iret":
        processor.ram.write(TSS, struct.pack("<H", SPARE))
        write_eflags(processor.cpu, NESTED)


@pytest.mark.parametrize("how", SWITCHES)
def test_resume_flag_of_a_task(engine: Processor, how: str) -> None:
    """A task switch loads EFLAGS with RF, whichever way it comes about (SDM vol. 3A 7.3)."""
    nested = SWITCHES[how][1]
    start_task(engine, how, eflags=2)
    assert next_trap(engine) == (0x100, 2 | nested, 1)
    engine.start()
    start_task(engine, how, eflags=2 | RF)
    assert next_trap(engine) is None
    assert engine.cpu["eip"] == ORIGIN + 0x102


@pytest.mark.parametrize("how", SWITCHES)
@pytest.mark.parametrize("resume", [0, RF])
def test_debug_trap_of_a_task(engine: Processor, how: str, resume: int) -> None:
    """T in the TSS: #DB before the first instruction of the new task, whose RF is still there."""
    start_task(engine, how, eflags=2 | resume, trap=1)
    nested = SWITCHES[how][1]
    assert next_trap(engine) == (0x100, 2 | nested | resume, 0x8000)


def test_debug_registers_and_entry_points_after_reset(engine: Processor) -> None:
    """SDM vol. 3A table 10-1."""
    names: list[str | tuple[str, int]] = ["sysenter_cs", "sysenter_esp", "sysenter_eip"]
    names += [("dr", number) for number in range(4)]
    for name in names:
        engine.cpu[name] = 0x1234
    power_on(engine.cpu)
    assert not any(engine.cpu[name] for name in names)
