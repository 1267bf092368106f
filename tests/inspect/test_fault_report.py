"""Triple faults: the chain that the processor notes, the same in both engines, and what the user reads of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from bt.end import End
from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.inspect.fault_report import describe_triple_fault
from bt.machine import EngineName, Machine, MachineConfig, Result
from bt.symbols.elf_symbols import Symbols
from bt.x86.vectors import Vector
from guest_images.assembler import assemble, assemble_program
from tests import tables
from tests.boot.images import MULTIBOOT_MAGIC, Segment, Symbol, elf, with_symbols

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
MEMORY = 16 << 20
ADDRESS = 0x10_0000
GDT, IDT, TSS, OTHER_TSS, DIRECTORY, OTHER_DIRECTORY = 0x1000, 0x2000, 0x3000, 0x3800, 0x4000, 0x5000
CODE, DATA, TASK, OTHER_TASK, SMALL_STACK = 0x08, 0x10, 0x28, 0x30, 0x38
ABSENT = 0xC0_0000  # beyond what `DIRECTORY` maps
LARGE = tables.WRITABLE | tables.LARGE

SELECTORS = {
    CODE: tables.descriptor(tables.CODE),
    DATA: tables.descriptor(tables.DATA),
    TASK: tables.descriptor(0x89, base=TSS, limit=tables.TSS_BYTES - 1, flags=0),
    OTHER_TASK: tables.descriptor(0x89, base=OTHER_TSS, limit=tables.TSS_BYTES - 1, flags=0),
    SMALL_STACK: tables.descriptor(tables.DATA, base=0x9000, limit=0xFF, flags=tables.BIG),
}
BASE = {
    GDT: tables.descriptor_table(SELECTORS),
    TSS: tables.task_state(DATA, 0x9000),
    DIRECTORY: tables.page_table({0: LARGE, 1: LARGE | 4 << 20}),
    # the same but for the page at 4 MiB
    OTHER_DIRECTORY: tables.page_table({0: LARGE}),
}
START = f"""
    lgdt [gdt_register]
    lidt [idt_register]
    jmp {CODE}:next
gdt_register:
    .word {len(BASE[GDT]) - 1}
    .long {GDT}
idt_register:
    .word idt_limit
    .long idt_base
next:
    mov ax, {TASK}
    ltr ax
"""
PAGING = f"""
    mov eax, {DIRECTORY}
    mov cr3, eax
    mov eax, 0x10
    mov cr4, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
"""


@dataclass(frozen=True)
class Scenario:
    """A guest in 32-bit code, and what is said of it above the registers."""

    name: str
    source: str
    said: str
    gates: Mapping[int, bytes] = field(default_factory=dict)
    memory: Mapping[int, bytes] = field(default_factory=dict)
    idt_base: int = IDT
    idt_limit: int | None = None

    def idt(self) -> bytes:
        return b"".join(self.gates.get(vector, bytes(8)) for vector in range(max(self.gates, default=-1) + 1))

    def code(self) -> str:
        limit = 8 * len(self.gates and range(max(self.gates) + 1)) - 1 if self.idt_limit is None else self.idt_limit
        return f"idt_limit = {max(limit, 0)}\nidt_base = {self.idt_base}\n{START}{self.source}"


def chain_of(lines: list[str]) -> str:
    """What is said above the registers."""
    text = "\n".join(line[2:] for line in lines[1:])
    return text[: text.index("\neax=")]


def gate(target: str, source: str) -> bytes:
    """An interrupt gate to a label of a scenario's source."""
    program = assemble_program(f"idt_limit = 0\nidt_base = 0\n{START}{source}", 32, ADDRESS)
    return tables.interrupt_gate(CODE, program.symbols[target])


def task_gate(selector: int) -> bytes:
    return struct.pack("<HHHH", 0, selector, 0x8500, 0)


def task(eip: int, *, cr3: int = 0, stack: int = DATA, eflags: int = 2, code: int = CODE) -> bytes:
    """A 32-bit TSS to be switched to."""
    image = bytearray(tables.TSS_BYTES)
    struct.pack_into("<III", image, 28, cr3, eip, eflags)
    struct.pack_into("<I", image, 56, 0x9000)
    struct.pack_into("<6I", image, 72, DATA, code, stack, DATA, DATA, DATA)
    return bytes(image)


ABSENT_GATE = tables.interrupt_gate(CODE, ADDRESS)[:5] + b"\x0e" + bytes(2)
STACK_HANDLER = f"""
    mov ax, {SMALL_STACK}
    mov ss, ax
    mov esp, 0x10
    ud2
handler:
    push eax
here:
    push eax
"""

SCENARIOS = (
    Scenario(
        "an IDT of nothing",
        "here:\nint3",
        """\
#GP error 001a
    at 0008:{here}: int3
#GP error 006b, while #GP was delivered: the IDT has no entry 0d, its limit is 0000
#DF error 0000
#GP error 0043, while #DF was delivered: the IDT has no entry 08, its limit is 0000""",
    ),
    Scenario(
        "a page fault with the IDT on a page that is not there",
        f"{PAGING}\nmov ebx, {ABSENT}\nhere:\nmov dword ptr [ebx + 4], 1",
        """\
#PF error 0002 (write, supervisor, not present), cr2=00c00004
    at 0008:{here}: mov dword ptr [ebx + 4], 1
#PF error 0000 (read, supervisor, not present), cr2=00800070, while #PF was delivered: IDT entry 0e is on that page
#DF error 0000
#PF error 0000 (read, supervisor, not present), cr2=00800040, while #DF was delivered: IDT entry 08 is on that page""",
        idt_base=0x80_0000,
        idt_limit=0x7FF,
    ),
    Scenario(
        "a handler that runs out of stack",
        STACK_HANDLER,
        """\
#SS error 0000
    at 0008:{here}: push eax
#SS error 0001, while #SS was delivered
#DF error 0000
#SS error 0001, while #DF was delivered""",
        gates=dict.fromkeys((Vector.UD, Vector.SS, Vector.DF), gate("handler", STACK_HANDLER)),
    ),
    Scenario(
        "a frame that goes nowhere",
        f"{PAGING}\nmov esp, {ABSENT}\nhere:\npush eax\nhandler:",
        """\
#PF error 0002 (write, supervisor, not present), cr2=00bffffc
    at 0008:{here}: push eax
#PF error 0002 (write, supervisor, not present), cr2=00bffffc, while #PF was delivered
#DF error 0000
#PF error 0002 (write, supervisor, not present), cr2=00bffffc, while #DF was delivered""",
        gates=dict.fromkeys((Vector.PF, Vector.DF), tables.interrupt_gate(CODE, ADDRESS)),
    ),
    Scenario(
        "every class in turn",
        f"{PAGING}\nmov dword ptr [{GDT}], {ABSENT}\nhere:\nud2",
        """\
#UD
    at 0008:{here}: ud2
#NP error 0033, while #UD was delivered: IDT entry 06 is not present (00 00 08 00 00 0e 00 00)
#GP error 0019, while #NP was delivered: selector 0018 of its gate
#DF error 0000
#GP error 0043, while #DF was delivered: IDT entry 08 is no gate (00 00 00 00 00 00 00 00)""",
        gates={
            Vector.UD: ABSENT_GATE,
            Vector.NP: tables.interrupt_gate(0x18, ADDRESS),
            Vector.GP: tables.interrupt_gate(CODE, ADDRESS),
        },
    ),
)

VIRTUAL_8086 = """
    push 0
    push 0
    push 0
    push 0                  ; gs fs ds es
    push 0                  ; ss
    push 0x8000
    push 0x20002            ; VM
    push 0x700
    push 0
    iretd
"""

BEYOND_THE_MODE = (
    Scenario(
        "virtual-8086 mode",
        VIRTUAL_8086,
        """\
#GP error 0000
    at 0700:0000: hlt
#GP error 006b, while #GP was delivered: the IDT has no entry 0d, its limit is 0000
#DF error 0000
#GP error 0043, while #DF was delivered: the IDT has no entry 08, its limit is 0000""",
        memory={0x7000: b"\xf4"},
    ),
    Scenario(
        "an interrupt that nobody is there for",
        """
        mov al, 0x11
        out 0x20, al
        mov al, 0x20
        out 0x21, al
        mov al, 4
        out 0x21, al
        mov al, 1
        out 0x21, al
        mov al, 0xfe
        out 0x21, al
        mov al, 0x34
        out 0x43, al
        mov al, 10
        out 0x40, al
        mov al, 0
        out 0x40, al
        sti
    here:
        jmp here
        """,
        """\
interrupt 20
    at 0008:{here}: jmp 0x{here}
#GP error 0103, while interrupt 20 was delivered: the IDT has no entry 20, its limit is 0000
#GP error 006b, while #GP was delivered: the IDT has no entry 0d, its limit is 0000
#DF error 0000
#GP error 0043, while #DF was delivered: the IDT has no entry 08, its limit is 0000""",
    ),
    Scenario(
        "a double fault's task without a stack",
        "here:\nud2",
        """\
#UD
    at 0008:{here}: ud2
#GP error 0033, while #UD was delivered: IDT entry 06 is no gate (00 00 00 00 00 00 00 00)
#GP error 006b, while #GP was delivered: the IDT has no entry 0d, its limit is 0047
#DF error 0000
#TS error 0001, while #DF was delivered""",
        gates={Vector.DF: task_gate(OTHER_TASK)},
        memory={OTHER_TSS: task(0x1234, stack=0)},
    ),
    Scenario(
        "a task that is in another address space",
        f"{PAGING}\nmov ebx, {ABSENT}\nhere:\nmov eax, [ebx]",
        """\
#PF error 0000 (read, supervisor, not present), cr2=00c00000
    at 0008:{here}: (in the address space of another task)
#TS error 0001, while #PF was delivered
#DF error 0000
    at 0008:00001234: nop
#GP error 0043, while #DF was delivered: IDT entry 08 is no gate (00 00 00 00 00 00 00 00)""",
        gates={Vector.PF: task_gate(OTHER_TASK)},
        memory={OTHER_TSS: task(0x1234, stack=0, cr3=OTHER_DIRECTORY), 0x1234: b"\x90"},
    ),
    Scenario(
        "a task in virtual-8086 mode",
        "ud2",
        """\
#GP error 0000
    at 0700:0010: hlt
#GP error 006b, while #GP was delivered: the IDT has no entry 0d, its limit is 0037
#DF error 0000
#GP error 0043, while #DF was delivered: the IDT has no entry 08, its limit is 0037""",
        gates={Vector.UD: task_gate(OTHER_TASK)},
        memory={OTHER_TSS: task(0x10, eflags=0x20002, stack=0x800, code=0x700), 0x7010: b"\xf4"},
    ),
)


def run(library: Library, engine: EngineName, scenario: Scenario) -> tuple[Result, list[str]]:
    """How it ended, and all that is said of it."""
    machine = Machine(MachineConfig(memory=MEMORY, engine=engine), library=library)
    machine.load(assemble(scenario.code(), 32, ADDRESS), flat=ADDRESS)
    for at, contents in {**BASE, IDT: scenario.idt(), **scenario.memory}.items():
        machine.ram.write(at, contents)
    result = machine.run(max_insns=1_000_000)
    lines = describe_triple_fault(machine.cpu, result.fault_chain, Symbols(b""))
    machine.close()
    return result, lines


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


@pytest.mark.parametrize("scenario", [*SCENARIOS, *BEYOND_THE_MODE], ids=lambda scenario: scenario.name)
def test_the_chain_in_words(library: Library, scenario: Scenario) -> None:
    (result, lines), (other, other_lines) = (run(library, engine, scenario) for engine in ENGINES)
    assert (result.reason, result.status) == (End.TRIPLE_FAULT, 6)
    assert (result.fault_chain, result.instructions) == (other.fault_chain, other.instructions)
    here = assemble_program(scenario.code(), 32, ADDRESS).symbols.get("here", 0)
    said = scenario.said.replace("0x{here}", f"{here:#x}").replace("{here}", f"{here:08x}")
    assert chain_of(lines) == said
    assert lines == other_lines


@pytest.mark.parametrize("engine", ENGINES)
def test_real_mode(library: Library, engine: EngineName) -> None:
    """Without error codes, with the vector table's own kind of entries."""
    machine = Machine(MachineConfig(memory=MEMORY, engine=engine), library=library)
    source = "xor ax, ax\nmov ds, ax\nlidt [table]\nhere:\nint 0x21\ntable:\n.word 0x1f\n.long 0\n"
    program = assemble_program(source, 16, 0x7C00)
    machine.load(program.image.ljust(510, b"\0") + b"\x55\xaa", boot_sector=True)
    result = machine.run(max_insns=100)
    lines = describe_triple_fault(machine.cpu, result.fault_chain, Symbols(b""))
    assert lines[0] == f"triple fault at 0000:{program.symbols['here']:04x} after 4 instructions"
    assert (
        chain_of(lines)
        == f"""\
#GP
    at 0000:{program.symbols["here"]:04x}: int 0x21
#GP, while #GP was delivered: the interrupt vector table has no entry 0d, its limit is 001f
#DF
#GP, while #DF was delivered: the interrupt vector table has no entry 08, its limit is 001f"""
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_non_maskable_interrupt(library: Library, engine: EngineName) -> None:
    machine = Machine(MachineConfig(memory=MEMORY, engine=engine), library=library)
    machine.load(assemble("lidt [table]\nhere:\njmp here\ntable:\n.word 0\n.long 0", 32, ADDRESS), flat=ADDRESS)
    assert machine.run(max_insns=10).reason is End.MAX_INSNS
    machine.cpu.nmi()
    result = machine.run(max_insns=10)
    assert [(each.vector, each.is_interrupt, each.error) for each in result.fault_chain] == [
        (Vector.NMI, True, None),
        (Vector.GP, False, 0x13),
        (Vector.DF, False, 0),
    ]
    assert chain_of(describe_triple_fault(machine.cpu, result.fault_chain, Symbols(b""))).startswith("NMI\n")


KERNEL = """
    mov esp, stack
    call kmain
kmain:
    mov ebp, esp
    lidt [table]
crash:
    ud2
table:
    .word 0
    .long 0
    .space 64
stack:
"""


@pytest.mark.parametrize("high", [False, True])
def test_symbols_of_a_multiboot_kernel(library: Library, high: bool) -> None:
    """Linked to where it is loaded, and to C0100000 but not there yet."""
    virtual = 0xC010_0000 if high else ADDRESS
    header = struct.pack("<III", MULTIBOOT_MAGIC, 3, -(MULTIBOOT_MAGIC + 3) & 0xFFFF_FFFF)
    program = assemble_program(KERNEL, 32, ADDRESS + len(header))
    names = [Symbol(name, program.symbols[name] - ADDRESS + virtual, kind=2) for name in ("kmain", "table")]
    segment = Segment(ADDRESS, header + program.image, vaddr=virtual)
    image = with_symbols(elf([segment], virtual + len(header)), names)
    machine = Machine(MachineConfig(memory=MEMORY), library=library)
    machine.load(image, name="kernel.elf")
    result = machine.run(max_insns=100)
    crash, offset = program.symbols["crash"], program.symbols["crash"] - program.symbols["kmain"]
    lines = describe_triple_fault(machine.cpu, result.fault_chain, Symbols(image))
    assert lines[0] == f"triple fault at 0008:{crash:08x} <kmain+{offset:#x}> after 5 instructions"
    assert lines[2] == f"      at 0008:{crash:08x} <kmain+{offset:#x}>: ud2"


def test_registers(library: Library) -> None:
    scenario = Scenario("registers", "mov ecx, 0x12345678\nstc\nint3", "")
    _, lines = run(library, "bt", scenario)
    assert "  eax=00000028 ecx=12345678 edx=00000000 ebx=00000000" in lines
    assert "  es=0010 cs=0008 ss=0010 ds=0010 fs=0010 gs=0010 ldtr=0000 tr=0028" in lines
    assert f"  gdtr=00001000:{len(BASE[GDT]) - 1:04x} idtr=00002000:0000 eflags=00000003 cf" in lines
    assert lines[-1] == "  protected mode, no paging, CPL 0, 32-bit code, 32-bit stack, flat segments"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("handler", "end", "delivered"),
    [
        ("cli\nhlt", End.HALTED, []),
        ("int3", End.TRIPLE_FAULT, [Vector.GP, Vector.DF]),
    ],
)
def test_what_was_delivered_in_the_end_is_not_in_the_chain(
    library: Library, engine: EngineName, handler: str, end: End, delivered: list[int]
) -> None:
    """#UD becomes #NP, which has a handler."""
    gates: dict[int, bytes] = {Vector.UD: ABSENT_GATE, Vector.NP: tables.interrupt_gate(CODE, ADDRESS + 0x100)}
    scenario = Scenario("recovers", "ud2", "", gates=gates)
    machine = Machine(MachineConfig(memory=MEMORY, engine=engine), library=library)
    code = assemble(scenario.code(), 32, ADDRESS).ljust(0x100, b"\x90") + assemble(handler, 32, ADDRESS + 0x100)
    machine.load(code, flat=ADDRESS)
    for at, contents in {**BASE, IDT: scenario.idt()}.items():
        machine.ram.write(at, contents)
    result = machine.run(max_insns=1000)
    assert result.reason is end
    assert [failure.vector for failure in result.fault_chain] == delivered
