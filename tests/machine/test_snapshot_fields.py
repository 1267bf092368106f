"""What of the processor's state a snapshot must have: each field here is dropped from one, and somebody notices."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bt.end import End
from bt.engine.library.library import Library, load_library
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86.fault_chain import Failure
from bt.x86.page import PAGE
from bt.x86.state import DERIVED, FIELDS
from guest_images.assembler import assemble_program
from tests import tables
from tests.everyday import one_in
from tests.machine import snapshot_guest
from tests.machine.snapshot_guest import Refusing

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
MEMORY, ORIGIN = 2 << 20, 0x1_0000
DIRECTORY, TABLE, HIGH_TABLE, IDT, GDT, FIRST_TSS, SECOND_TSS, DATA, STACK = range(0x2000, 0xB000, 0x1000)
WINDOW = 0x40_0000  # linear: a device, no page below it, and DATA above it
DEVICE = 0xF000_0000
CODE_SELECTOR, DATA_SELECTOR, FIRST_TASK, SECOND_TASK = 0x08, 0x10, 0x18, 0x20
PAGE_ENTRY = tables.WRITABLE | tables.PRESENT
RESUME_FLAG = 0x10000
BEGIN = f"""
    lgdt [tables]
    lidt [tables + 6]
    push {CODE_SELECTOR}
    push begun
    retf
tables:
    .word 0x27
    .long {GDT}
    .word 0x7FF
    .long {IDT}
begun:
    mov eax, {DATA_SELECTOR}
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, {STACK + 0x800}
    mov eax, {FIRST_TASK}
    ltr ax
    mov eax, {DIRECTORY}
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
"""
END = """
handler:
    out 0xF4, al
second_task:
    mov al, 9
    out 0xF4, al
"""
GUESTS = {
    "cr2": f"""
        mov eax, [{WINDOW - 8}]
    page_fault:
        mov eax, cr2
        shr eax, 3
    """,
    # a trap goes to a task whose TSS has RF, which shields its first instruction from a breakpoint
    "loaded_resume_flag": """
        mov eax, second_task
        mov dr0, eax
        mov eax, 0x402
        mov dr7, eax
        pushfd
        or dword ptr [esp], 0x100
        popfd
        nop
        nop
    """,
    # the trap of a load of SS comes behind the next instruction
    "debug_hits": f"""
        mov dword ptr [{DATA}], {DATA_SELECTOR}
        mov eax, {DATA}
        mov dr0, eax
        mov eax, 0x70402
        mov dr7, eax
        mov ss, [{DATA}]
        mov ebx, 1
        mov al, 3
        out 0xF4, al
    debug:
        mov al, 5
    """,
    # between two iterations the pushed EFLAGS have RF, also when a later word of the frame goes to a device
    "pushed_resume_flag": f"""
        mov dword ptr [{DATA}], 0x102
        mov esi, {DATA}
        mov edi, {DATA + 0x100}
        mov ecx, 3
        mov esp, {WINDOW + PAGE}
        popfd
        rep movsb
        hlt
    debug:
        mov eax, [{DATA}]
        shr eax, 16
    """,
    # each delivery writes a word to the device and fails at the next
    "fault_depth": f"""
        mov esp, {WINDOW + 4}
        ud2
    """,
}
GUESTS["fault_chain"] = GUESTS["fault_depth"]
ALWAYS_ZERO = ("deferred", "step_trap", "mmio_used", "fp_loaded", "fp_ready", "service")
BY_NAME = {field.name: field for field in FIELDS}


@dataclass(frozen=True)
class Outcome:
    """What the guest, its devices and the API's user see of it."""

    reason: str
    status: int
    instructions: int
    chain: tuple[Failure, ...]
    heard: int


class Guest:
    """A machine with one of these guests, and a device that refuses an access once."""

    def __init__(self, library: Library, engine: EngineName, source: str) -> None:
        self.machine = Machine(MachineConfig(memory=MEMORY, engine=engine), library=library)
        self.device = Refusing()
        self.machine.mmio.attach(self.device, DEVICE, PAGE)
        program = assemble_program(BEGIN + source + END, 32, ORIGIN)
        self.machine.load(program.image, flat=ORIGIN)
        write = self.machine.ram.write
        segments = {
            CODE_SELECTOR: tables.descriptor(tables.CODE),
            DATA_SELECTOR: tables.descriptor(tables.DATA),
            FIRST_TASK: tables.descriptor(tables.TSS & ~2, base=FIRST_TSS, limit=0x67, flags=0),
            SECOND_TASK: tables.descriptor(tables.TSS & ~2, base=SECOND_TSS, limit=0x67, flags=0),
        }
        write(GDT, tables.descriptor_table(segments))
        for vector, name in {1: "debug", 6: "handler", 8: "handler", 14: "page_fault"}.items():
            target = program.symbols.get(name, program.symbols["handler"])
            write(IDT + 8 * vector, tables.interrupt_gate(CODE_SELECTOR, target))
        if "second_task" in source:
            write(IDT + 8, struct.pack("<HHBBH", 0, SECOND_TASK, 0, 0x85, 0))
        task = struct.pack("<III", DIRECTORY, program.symbols["second_task"], RESUME_FLAG | 2)
        selectors = (DATA_SELECTOR, CODE_SELECTOR, DATA_SELECTOR, DATA_SELECTOR, 0, 0, 0)
        write(SECOND_TSS + 28, task + struct.pack("<8I7I", *[STACK + 0x800] * 8, *selectors))
        entries = {0: TABLE | PAGE_ENTRY, 1: HIGH_TABLE | PAGE_ENTRY}
        write(DIRECTORY, tables.page_table(entries))
        write(TABLE, tables.page_table({number: number << 12 | PAGE_ENTRY for number in range(MEMORY >> 12)}))
        write(HIGH_TABLE, tables.page_table({0: DEVICE | PAGE_ENTRY, 1: DATA | PAGE_ENTRY}))

    def finish(self) -> Outcome:
        result = self.machine.run(max_insns=1000)
        return Outcome(result.reason, result.status, result.instructions, result.fault_chain, self.device.heard)


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    made = load_library()
    yield made
    made.close()


def stops(library: Library, engine: EngineName, source: str) -> Iterator[Guest]:
    """The guest behind each of its instructions, and before each answer of the device."""
    guest = Guest(library, engine, source)
    while guest.machine.run(max_insns=1).reason == End.MAX_INSNS:
        yield guest
    accesses = guest.device.asked
    guest.machine.close()
    for number in range(accesses):
        guest = Guest(library, engine, source)
        guest.device.raise_at = number
        with pytest.raises(InterruptedError):
            guest.machine.run(max_insns=1000)
        yield guest
        guest.machine.close()


def outcomes(
    library: Library, taken: EngineName, restored: EngineName, source: str, dropped: str | None
) -> set[Outcome]:
    """How the guest can end that goes on from a snapshot, of all that there are, without a field."""
    found = set()
    for guest in stops(library, taken, source):
        other = Guest(library, restored, source)
        with guest.machine.snapshot() as snapshot:
            other.machine.restore(snapshot)
        if dropped is not None:
            other.machine.cpu.state.fill(BY_NAME[dropped], 0)
        found.add(other.finish())
        other.machine.close()
    return found


@pytest.mark.parametrize(("field", "restored"), one_in(5, list(GUESTS), ENGINES))
def test_a_field_that_is_dropped_is_noticed(library: Library, restored: EngineName, field: str) -> None:
    """From a snapshot of one engine at least: the translator has looked at a loaded RF by then."""
    source = GUESTS[field]
    guest = Guest(library, restored, source)
    expected = {guest.finish()}
    guest.machine.close()
    for taken in ENGINES:
        assert outcomes(library, taken, restored, source, None) == expected
    assert any(outcomes(library, taken, restored, source, field) != expected for taken in ENGINES)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_always_zero_after_a_run(library: Library, engine: EngineName) -> None:
    """Why these fields are in no snapshot: the way out of a run clears them."""
    assert not [name for name in ALWAYS_ZERO if BY_NAME[name].kind is not DERIVED]
    for source in GUESTS.values():
        for guest in stops(library, engine, source):
            state = guest.machine.cpu.state
            assert not [name for name in ALWAYS_ZERO if state[name]], f"{guest.machine.cpu.instructions}: {source}"
    with snapshot_guest.make(library, engine, snapshot_guest.program()) as recorded:
        while recorded.machine.run(max_insns=1).reason == End.MAX_INSNS:
            state = recorded.machine.cpu.state
            assert not [name for name in ALWAYS_ZERO if state[name]], recorded.machine.cpu.instructions


@pytest.mark.parametrize("engine", ENGINES)
def test_a_frame_that_failed_is_not_replayed(library: Library, engine: EngineName) -> None:
    """#UD, #PF and #DF each store EFLAGS to the device and fault at CS: three stores, not the first one's answer."""
    guest = Guest(library, engine, GUESTS["fault_depth"])
    assert len(guest.finish().chain) == 3
    assert guest.device.asked == 3
    guest.machine.close()
