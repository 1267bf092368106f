"""The A20 gate while paging is on: what was translated, cached or chained through it holds no longer when it moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.engine.library.library import load_library
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86.state import EAX, EBX, ECX
from guest_images.assembler import assemble
from tests import tables

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
MIB = 1 << 20
DIRECTORY, TABLE, PROGRAM, DATA, CODE = 0x4000, 0x5000, 0x8000, 0x30000, 0x40000
LOW, HIGH = 0x11111111, 0x22222222
SHUT, OPEN = "mov al, 0\nout 0x92, al", "mov al, 2\nout 0x92, al"
PAGING_ON = f"""
    mov eax, {DIRECTORY}
    mov cr3, eax
    mov eax, 0x80               ; PGE
    mov cr4, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    {OPEN}
"""


@pytest.fixture(params=ENGINES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Linear addresses are physical ones; what differs above 1 MiB is given by the tests."""
    made = Machine(MachineConfig(memory=4 * MIB, engine=request.param), library=load_library())
    made.load(b"\xf4", flat=PROGRAM)
    pages = {number: number << 12 | tables.WRITABLE | tables.GLOBAL for number in range(1024)}
    made.ram.write(DIRECTORY, tables.page_table({0: TABLE | tables.WRITABLE}))
    made.ram.write(TABLE, tables.page_table(pages))
    yield made
    made.close()


def run(machine: Machine, program: str) -> None:
    machine.ram.write(PROGRAM, assemble(f"{PAGING_ON}\n{program}\ncli\nhlt", 32, PROGRAM))
    assert machine.run(max_insns=10_000).reason == "halted"


def test_data_that_was_read_before(machine: Machine) -> None:
    """Of a global page as well: no load of CR3 would forget it."""
    machine.ram.write(DATA, LOW.to_bytes(4, "little"))
    machine.ram.write(MIB + DATA, HIGH.to_bytes(4, "little"))
    run(
        machine,
        f"mov esi, {MIB + DATA}\nmov ebx, [esi]\n{SHUT}\nmov ecx, [esi]\n{OPEN}\nmov eax, [esi]",
    )
    state = machine.cpu.state
    assert [state["gpr", number] for number in (EBX, ECX, EAX)] == [HIGH, LOW, HIGH]


def test_a_page_table_that_was_walked_before(machine: Machine) -> None:
    """The table itself is reached through the gate."""
    machine.ram.write(DIRECTORY, tables.page_table({0: TABLE | tables.WRITABLE, 1: MIB + 0x6000 | tables.WRITABLE}))
    for table, frame, value in ((0x6000, DATA, LOW), (MIB + 0x6000, DATA + 0x1000, HIGH)):
        machine.ram.write(table, tables.page_table({0: frame | tables.WRITABLE | tables.GLOBAL}))
        machine.ram.write(frame, value.to_bytes(4, "little"))
    run(machine, f"mov esi, {4 * MIB}\nmov ebx, [esi]\n{SHUT}\nmov ecx, [esi]\n{OPEN}\nmov eax, [esi]")
    state = machine.cpu.state
    assert [state["gpr", number] for number in (EBX, ECX, EAX)] == [HIGH, LOW, HIGH]


def test_code_that_ran_before(machine: Machine) -> None:
    """Three times each, so that it is chained and predicted."""
    for place, value in ((CODE, LOW), (MIB + CODE, HIGH)):
        machine.ram.write(place, assemble(f"add edi, {value}\njmp on\nint3\non: ret", 32, MIB + CODE))
    calls = f"xor edi, edi\nmov ebp, 3\nround{{0}}:\ncall {MIB + CODE}\ndec ebp\njnz round{{0}}\npush edi"
    run(
        machine,
        "\n".join((calls.format(1), SHUT, calls.format(2), OPEN, calls.format(3), "pop eax\npop ecx\npop ebx")),
    )
    state = machine.cpu.state
    found = [state["gpr", number] for number in (EBX, ECX, EAX)]
    assert found == [3 * value & 0xFFFFFFFF for value in (HIGH, LOW, HIGH)]


def test_the_instruction_behind_the_gate_is_another_ones(machine: Machine) -> None:
    """The code that shuts the gate lies above 1 MiB itself: it goes on with the bytes 1 MiB below, and comes back."""
    shut = f"again:\n{SHUT}\n"
    machine.ram.write(MIB + CODE, assemble(f"{shut}mov ebx, {HIGH}\nint3", 32, MIB + CODE))
    low = f"{shut}mov ebx, {LOW}\nmov al, 2\nout 0x92, al\nint3"
    machine.ram.write(CODE, assemble(low, 32, MIB + CODE))
    back = len(assemble(low, 32, MIB + CODE)) - 1
    machine.ram.write(MIB + CODE + back, assemble("mov ecx, 1\ncli\nhlt", 32, MIB + CODE + back))
    run(machine, f"mov eax, {MIB + CODE}\njmp eax")
    state = machine.cpu.state
    assert [state["gpr", number] for number in (EBX, ECX)] == [LOW, 1]
