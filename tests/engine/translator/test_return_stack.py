"""Predicted returns, and the tags of all branch caches: an old prediction never holds for new code."""

from __future__ import annotations

import pytest

from bt.x86.mode import EPOCH_BITS
from bt.x86.state import RETURN_STACK_ENTRIES
from guest_images.assembler import assemble
from tests.engines import factories
from tests.smc.guest import (
    ALIAS,
    DONE,
    EXTERNAL,
    FRAME,
    MAP,
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
FLAT = Mode(Paging.OFF, 0)
ENTRY, RIGHTS = TABLE + 4 * (MAPPED - ALIAS >> 12), 7
WRAP = 1 << EPOCH_BITS  # epochs after which tags repeat

# one change of the page at MAPPED, one new epoch
_SWITCH = f"mov dword ptr [{ENTRY}], {OTHER_FRAME + RIGHTS}\ninvlpg [{MAPPED}]"
_FAR_AWAY = PROGRAM + 0x1800


def _recursion(depth: int, times: int) -> bytes:
    """EBX counts calls: `depth` of them inside each other, and that `times` times."""
    program = f"""
        mov ebp, {times}
    again:
        mov ecx, {depth}
        call down
        dec ebp
        jnz again
        int {DONE}
    down:
        inc ebx
        dec ecx
        jz up
        call down
    up:
        inc eax
        ret
    """
    return assemble(program, 32, PROGRAM)


@pytest.mark.parametrize("depth", [1, 2, RETURN_STACK_ENTRIES - 1, RETURN_STACK_ENTRIES])
def test_returns_are_predicted(depth: int) -> None:
    """All of them, as deep as the return stack is: once all blocks are there none is looked up."""
    machine, times = stencils(), 50
    before = machine.cpu.statistics()
    assert machine.run(FLAT, {PROGRAM: _recursion(depth, times)})[1] == depth * times
    after = machine.cpu.statistics()
    assert after["return_hits"] - before["return_hits"] == depth * times
    assert after["branch_lookups"] == before["branch_lookups"]


@pytest.mark.parametrize("depth", [RETURN_STACK_ENTRIES + 1, 2 * RETURN_STACK_ENTRIES, 200])
@pytest.mark.parametrize("engine", factories())
def test_returns_from_deeper_than_the_stack(engine: str, depth: int) -> None:
    """Old predictions have given way to new ones; what is looked up instead is as right."""
    assert guest(engine).run(FLAT, {PROGRAM: _recursion(depth, 20)}) == (depth * 20, depth * 20)


@pytest.mark.parametrize(
    ("callee", "back"),
    [
        ("ret", FIRST),
        ("add dword ptr [esp], 7\nret", SECOND),  # behind the first ADD and its JMP
        ("pop ecx\npush other\nret", SECOND),
        ("pop ecx\njmp ecx", FIRST),
        ("call inner\ninner:\nadd esp, 4\nret", FIRST),
        ("pop ecx\npush other\npush ecx\nret 0", FIRST + SECOND),
    ],
)
@pytest.mark.parametrize("engine", factories())
def test_a_return_goes_where_the_stack_says(engine: str, callee: str, back: int) -> None:
    """Whatever was predicted, and however often: callees that return elsewhere."""
    program = f"""
        mov ebp, 20
        mov esi, esp
    again:
        mov esp, esi
        call callee
        add ebx, {FIRST}
        jmp on
        int3
    other:
        add ebx, {SECOND}
    on:
        cmp esp, esi
        jae done
        ret
    done:
        dec ebp
        jnz again
        int {DONE}
    callee:
        {callee}
    """
    program = program.replace("add dword ptr [esp], 7", "mov dword ptr [esp], other")
    assert guest(engine).run(FLAT, {PROGRAM: assemble(program, 32, PROGRAM)})[1] == 20 * back & 0xFFFFFFFF


# Programs that come by MAPPED in epoch 0, twice, because the first return only finds out where its prediction leads.
# Then EXTERNAL makes the epoch the last one before tags repeat, and MAP brings in the next one and another frame.
WAYS = {
    "return": (
        f"call {_FAR_AWAY}\nmov ebx, {{value}}\ncmp ebp, 2\njb again\nint {DONE}",
        f"inc ebp\ncmp ebp, 2\njb back\nint {EXTERNAL}\nint {MAP}\nback:\nret",
    ),
    "jump": (
        f"mov ebx, {{value}}\njmp {_FAR_AWAY}",
        f"inc ebp\ncmp ebp, 3\nje done\ncmp ebp, 2\njb on\nint {EXTERNAL}\nint {MAP}\n"
        f"on:\nmov eax, {MAPPED}\njmp eax\ndone:\nint {DONE}",
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("engine", factories())
def test_what_was_predicted_in_an_epoch_with_the_same_tag(engine: str, way: str) -> None:
    """Tags have the low bits of the epoch only. When those repeat, all caches that have them begin anew."""
    machine = guest(engine)
    epochs = [0, WRAP - 1]

    def external() -> None:
        epoch = epochs.pop(0)
        machine.cpu.state["epoch"] = machine.cpu.state["code_epoch"] = epoch  # IRET makes the tag from it

    mapped, far_away = WAYS[way]
    memory = {
        PROGRAM: assemble(f"int {EXTERNAL}\nmov eax, {MAPPED}\njmp eax", 32, PROGRAM),
        FRAME: assemble(f"again:\n{mapped.format(value=FIRST)}", 32, MAPPED),
        OTHER_FRAME: assemble(f"again:\n{mapped.format(value=SECOND)}", 32, MAPPED),
        _FAR_AWAY: assemble(far_away, 32, _FAR_AWAY),
    }
    _, total = machine.run(Mode(Paging.SMALL, 0), memory, switch=_SWITCH, external=external)
    assert epochs == []
    assert machine.cpu.state["epoch"] == WRAP
    assert total == SECOND
