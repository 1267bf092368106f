"""Direct exits: which are chained, and what a chain may never skip."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bt.x86.exits import ExitReason
from bt.x86.state import EBP, ESP
from guest_images.assembler import assemble
from tests import tables
from tests.engines import factories
from tests.smc.guest import (
    ALIAS,
    DONE,
    FRAME,
    IDT,
    KERNEL_CODE,
    MAPPED,
    OTHER_FRAME,
    PROGRAM,
    TABLE,
    Mode,
    Paging,
    guest,
    stencils,
)

FIRST, SECOND = 0x11111111, 0x22222222
ENTRY, RIGHTS = TABLE + 4 * (MAPPED - ALIAS >> 12), 7
EVICTING = FRAME  # whose linear page has MAPPED's place in the TLB
GENERAL_PROTECTION, PAGE_FAULT = 13, 14
COUNTERS = ("chains", "dispatches", "branch_misses", "branch_lookups", "fragments")

# how a block in MAPPED goes on in its own page, at a place that adds FIRST or SECOND to EBX and returns
EXITS = {
    "jmp": "evict\njmp next\nint3\nnext:",
    "jcc taken": "evict\ncmp eax, eax\nje next\nint3\nnext:",
    "jcc not taken": "evict\ncmp eax, eax\njne wrong\nnext:",
    "end of a block of 64 instructions": "evict\n" + 64 * "nop\n" + "next:",
    "return": f"call {PROGRAM + 0x800}\nnext:",
    "return at the end of a loop": f"mov ecx, 3\nagain:\ncall {PROGRAM + 0x800}\ndec ecx\njnz again\nnext:",
}


def _counted(memory: Mapping[int, bytes]) -> dict[str, int]:
    machine = stencils()
    before = machine.cpu.statistics()
    machine.run(Mode(Paging.OFF, 0), memory)
    after = machine.cpu.statistics()
    return {name: after[name] - before[name] for name in COUNTERS}


def _loop(times: int, body: str) -> dict[int, bytes]:
    return {PROGRAM: assemble(f"mov ebp, {times}\nagain:\n{body}\ndec ebp\njnz again\nint {DONE}", 32, PROGRAM)}


@pytest.mark.parametrize(
    "body", ["inc eax", "jmp on\nint3\non:", "test ebp, 1\njz on\ninc ebx\non:\ntest ebp, 3\njz more\nmore:"]
)
def test_a_loop_within_a_page_runs_by_itself(body: str) -> None:
    """Each exit leaves translated code once; then it is a jump."""
    few, many = _counted(_loop(10, body)), _counted(_loop(1000, body))
    assert few["chains"] > 0
    assert many == few


def test_jumps_to_code_that_was_changed_find_it_by_themselves() -> None:
    """As kernels patch themselves: each jump to the old code leaves translated code once more."""

    def patched(times: int) -> dict[int, bytes]:
        text = f"""
            mov edi, 1
            mov ebp, 10
        again:
            jmp victim
        back:
            dec ebp
            jnz again
            dec edi
            js end
            mov dword ptr [victim+1], {SECOND}
            mov ebp, {times}
            jmp again
        end:
            add ebx, eax
            int {DONE}
            .align 64
        victim:
            mov eax, {FIRST}
            jmp back
        """
        return {PROGRAM: assemble(text, 32, PROGRAM)}

    few, many = _counted(patched(10)), _counted(patched(1000))
    assert many == few
    assert {guest(engine).run(Mode(Paging.OFF, 0), patched(20))[1] for engine in factories()} == {SECOND}


def test_code_that_changes_all_the_time_is_found_again() -> None:
    """More often than fragments lead on to the next."""
    text = f"""
        xor ebx, ebx
        mov ebp, 50
    again:
        jmp victim
    back:
        add ebx, eax
        mov dword ptr [victim+1], ebp
        dec ebp
        jnz again
        int {DONE}
        .align 64
    victim:
        mov eax, 0
        jmp back
    """
    memory = {PROGRAM: assemble(text, 32, PROGRAM)}
    assert {guest(engine).run(Mode(Paging.OFF, 0), memory)[1] for engine in factories()} == {sum(range(2, 51))}


def test_an_exit_to_another_page_is_looked_up() -> None:
    """It must be: only the linear page is known to go on in the same physical one."""
    far = PROGRAM + 0x1000
    few, many = (
        _counted({**_loop(times, f"jmp {far}\nback:"), far: assemble(f"jmp {PROGRAM + 10}", 32, far)})
        for times in (10, 1000)
    )
    assert many["branch_lookups"] - few["branch_lookups"] == 2 * 990
    assert {**many, "branch_lookups": 0} == {**few, "branch_lookups": 0}


@pytest.mark.parametrize("way", EXITS)
@pytest.mark.parametrize("engine", factories())
def test_a_chain_stays_in_its_physical_page(engine: str, way: str) -> None:
    """A block goes on in another frame of its linear page, as it may: the entry was changed, and nothing made the
    processor forget the old one but the place in the TLB that another page needed. When the entry is as before,
    and INVLPG has said so, it must go on in its own frame again (SDM vol. 3A 4.10.2.3, 4.10.4).
    """
    program = f"""
        mov eax, [{MAPPED}]
        mov dword ptr [{ENTRY}], {OTHER_FRAME + RIGHTS}
        mov eax, {MAPPED}
        call eax
        mov dword ptr [{ENTRY}], {FRAME + RIGHTS}
        invlpg [{MAPPED}]
        xor ebx, ebx
        mov eax, {MAPPED}
        call eax
        int {DONE}
    """
    evicting = f"mov eax, [{EVICTING + 0x800}]"
    code = EXITS[way].replace("evict", evicting)
    memory = {
        PROGRAM: assemble(program, 32, PROGRAM),
        PROGRAM + 0x800: assemble(f"{evicting}\nret", 32, PROGRAM + 0x800),
        FRAME: assemble(f"{code}\nadd ebx, {FIRST}\nret\nwrong:\nint3", 32, MAPPED),
        OTHER_FRAME: assemble(f"{code}\nadd ebx, {SECOND}\nret\nwrong:\nint3", 32, MAPPED),
    }
    _, total = guest(engine).run(Mode(Paging.SMALL, 0), memory)
    assert total == FIRST


@pytest.mark.parametrize("engine", factories())
def test_a_handler_right_behind_what_faults(engine: str) -> None:
    """EIP has moved to the next instruction, as if nothing had happened: but it is another privilege level's now."""
    page = ALIAS + 0x50000
    entry = TABLE + 4 * (0x50000 >> 12)
    lines = [
        f"mov esi, {page}\nmov dx, 0x1234\nand dword ptr [{entry}], {~tables.USER & 0xFFFFFFFF}\nxor eax, eax",
        "in eax, dx",
        f"mov eax, [esi]\nmov dword ptr [esi], {SECOND}\nmov ebx, [esi]\nint {DONE}",
    ]
    behind = PROGRAM + len(assemble("\n".join(lines[:2]), 32, PROGRAM))
    memory = {
        PROGRAM: assemble("\n".join(lines), 32, PROGRAM),
        0x50000: FIRST.to_bytes(4, "little"),
        IDT + 8 * GENERAL_PROTECTION: tables.interrupt_gate(KERNEL_CODE, behind),
    }
    assert guest(engine).run(Mode(Paging.SMALL, 3), memory) == (FIRST, SECOND)


@pytest.mark.parametrize("engine", factories())
def test_a_chain_ends_where_the_budget_ends(engine: str) -> None:
    """A loop that is chained to itself asks for its budget in every round."""
    machine = guest(engine)
    again, instructions = PROGRAM + 5, (2, 1, 2)  # lengths
    machine.run(Mode(Paging.OFF, 0), _loop(10, "add ebx, ebp"))
    state = machine.cpu.state
    state["eip"], state["gpr", EBP] = again, 1_000_000
    done = 0
    for budget in (1, 2, 3, 4, 5, 7, 50, 300, 301, 302):
        before = machine.cpu.instructions
        assert machine.cpu.run(budget).reason is ExitReason.BUDGET
        assert machine.cpu.instructions - before == budget
        done += budget
        assert state["eip"] == again + sum(instructions[: done % 3])


@pytest.mark.parametrize("engine", factories())
def test_a_fetch_that_faults_costs_an_instruction(engine: str) -> None:
    """The handler of #PF is in the page that is missing: there is no other end to that than the budget's."""
    machine = guest(engine)
    machine.run(Mode(Paging.SMALL, 0), {PROGRAM: assemble(f"int {DONE}", 32, PROGRAM)})
    missing = ALIAS + 0x50000
    machine.ram.write(TABLE + 4 * (0x50000 >> 12), bytes(4))
    machine.ram.write(IDT + 8 * PAGE_FAULT, tables.interrupt_gate(KERNEL_CODE, missing))
    state = machine.cpu.state
    state["eip"], stack = missing, state["gpr", ESP]
    for budget in (1, 2, 7):
        before = machine.cpu.instructions
        assert machine.cpu.run(budget).reason is ExitReason.BUDGET
        assert machine.cpu.instructions - before == budget
        stack -= 16 * budget  # error code, EIP, CS, EFLAGS
        assert (state["eip"], state["gpr", ESP]) == (missing, stack)
