"""Code whose linear page gets another frame: by the page table and INVLPG, by CR3, by turning caches of paging off."""

from __future__ import annotations

from functools import cache

import pytest

from guest_images.assembler import assemble
from tests.engines import factories
from tests.everyday import one_in
from tests.smc.guest import (
    ALIAS,
    DIRECTORY,
    DONE,
    FRAME,
    MAP,
    MAPPED,
    MODES,
    OTHER_DIRECTORY,
    OTHER_FRAME,
    PROGRAM,
    TABLE,
    Paging,
    guest,
)

FIRST, SECOND, THIRD = 0x11111111, 0x22222222, 0x33333333
PAGE = 0x1000
_ENTRY = TABLE + 4 * (MAPPED - ALIAS >> 12)
_RIGHTS = 7  # present, writable, user

_WRITE_ENTRIES = f"""
    imul edi, edx, {OTHER_FRAME - FRAME}
    lea edi, [edi+{FRAME + _RIGHTS}]
    mov [{_ENTRY}], edi
    add edi, {PAGE}
    mov [{_ENTRY + 4}], edi
"""
SWITCHES = {
    "invlpg": f"{_WRITE_ENTRIES}\ninvlpg [{MAPPED}]\ninvlpg [{MAPPED + PAGE}]",
    "cr3 reloaded": f"{_WRITE_ENTRIES}\nmov edi, cr3\nmov cr3, edi",
    "another cr3": f"imul edi, edx, {OTHER_DIRECTORY - DIRECTORY}\nadd edi, {DIRECTORY}\nmov cr3, edi",
    "page global enable": f"{_WRITE_ENTRIES}\nmov edi, cr4\nxor edi, 0x80\nmov cr4, edi",
    "paging off and on": f"{_WRITE_ENTRIES}\nmov edi, cr0\nbtr edi, 31\nmov cr0, edi\nbts edi, 31\nmov cr0, edi",
}
"""Assembly that gives MAPPED and the page behind it frame number EDX, at CPL 0."""

PLACES = {"inside": 0x100, "across pages": PAGE - 3, "to the page's end": PAGE - 6, "second page": PAGE}
"""Offset of the victim, MOV EAX, imm32 and RET, in its two pages."""

# assembly with {call} of the victim; EBX sums up what it answered
HISTORIES = {
    "run once": ("{call}\nmov edx, 1\nint map\n{call}", FIRST + SECOND),
    "first run of the second": ("mov edx, 1\nint map\n{call}", SECOND),
    "run often": (
        "mov ebp, 50\nagain:\n{call}\ndec ebp\njnz again\nmov edx, 1\nint map\n{call}",
        50 * FIRST + SECOND,
    ),
    "to and fro": (
        "mov ebp, 10\nagain:\nxor edx, edx\nint map\n{call}\nmov edx, 1\nint map\n{call}\ndec ebp\njnz again",
        10 * (FIRST + SECOND),
    ),
    "changed while away": (
        "{call}\nmov edx, 1\nint map\n{call}\nmov dword ptr [first], new\nxor edx, edx\nint map\n{call}",
        FIRST + SECOND + THIRD,
    ),
    "changed while there": (
        "{call}\nmov edx, 1\nint map\n{call}\nmov dword ptr [second], new\n{call}\nxor edx, edx\nint map\n{call}",
        FIRST + SECOND + THIRD + FIRST,
    ),
    "changed through its own address": (
        "{call}\nmov edx, 1\nint map\n{call}\nmov dword ptr [mapped], new\n{call}\nxor edx, edx\nint map\n{call}",
        FIRST + SECOND + THIRD + FIRST,
    ),
}


@cache
def _program(place: str, history: str) -> bytes:
    offset = PLACES[place]
    symbols = {
        "map": MAP,
        "new": THIRD,
        "first": FRAME + offset + 1,
        "second": OTHER_FRAME + offset + 1,
        "mapped": MAPPED + offset + 1,
    }
    text = "\n".join(f"{name} = {value}" for name, value in symbols.items())
    body = HISTORIES[history][0].format(call=f"call {MAPPED + offset}\nadd ebx, eax")
    return assemble(f"{text}\n{body}\nint {DONE}\n", 32, PROGRAM)


def _victim(value: int) -> bytes:
    return b"\xb8" + value.to_bytes(4, "little") + b"\xc3"


@pytest.mark.parametrize(
    ("engine", "switch", "place", "history"),
    one_in(4, list(factories()), list(SWITCHES), list(PLACES), list(HISTORIES)),
)
def test_the_mapped_code_runs(engine: str, switch: str, place: str, history: str) -> None:
    """What runs at a linear address is what the page tables say now, in every mode with paging."""
    offset = PLACES[place]
    memory = {
        PROGRAM: _program(place, history),
        FRAME + offset: _victim(FIRST),
        OTHER_FRAME + offset: _victim(SECOND),
    }
    for mode in MODES:
        if mode.paging is not Paging.OFF:
            _, total = guest(engine).run(mode, memory, switch=SWITCHES[switch])
            assert total == HISTORIES[history][1] & 0xFFFFFFFF, str(mode)


SECOND_PAGE_ONLY = {
    "invlpg": f"mov edi, {OTHER_FRAME + PAGE + _RIGHTS}\nmov [{_ENTRY + 4}], edi\ninvlpg [{MAPPED + PAGE}]",
    "cr3 reloaded": f"mov edi, {OTHER_FRAME + PAGE + _RIGHTS}\nmov [{_ENTRY + 4}], edi\nmov edi, cr3\nmov cr3, edi",
}


@pytest.mark.parametrize("times", [1, 50])
@pytest.mark.parametrize("switch", SECOND_PAGE_ONLY)
@pytest.mark.parametrize("engine", factories())
def test_an_instruction_whose_second_page_is_another_one(engine: str, switch: str, times: int) -> None:
    """Where it begins nothing changes: two bytes of its immediate are in the page that stays."""
    offset = PLACES["across pages"]
    call = f"call {MAPPED + offset}\nadd ebx, eax"
    program = f"mov ebp, {times}\nagain:\n{call}\ndec ebp\njnz again\nint {MAP}\n{call}\nint {DONE}"
    memory = {
        PROGRAM: assemble(program, 32, PROGRAM),
        FRAME + offset: _victim(FIRST),
        OTHER_FRAME + offset: _victim(SECOND),
    }
    for mode in MODES:
        if mode.paging is not Paging.OFF:
            eax, total = guest(engine).run(mode, memory, switch=SECOND_PAGE_ONLY[switch])
            assert eax == SECOND & 0xFFFF0000 | FIRST & 0xFFFF, str(mode)
            assert total == times * FIRST + eax & 0xFFFFFFFF, str(mode)


@pytest.mark.parametrize("history", ["run once", "run often"])
@pytest.mark.parametrize("engine", factories())
def test_code_goes_on_in_the_new_frame(engine: str, history: str) -> None:
    """A page that maps itself away goes on with the other frame's bytes at the next instruction."""
    rounds = 1 if history == "run once" else 50
    # MAPPED: int map (0: as before); mov eax, n; add ebx, eax; dec ebp; jnz MAPPED; mov edx, 1; jmp MAPPED
    common = f"again:\nint {MAP}\nmov eax, {{value}}\nadd ebx, eax\ndec ebp\n{{after}}"
    first = common.format(value=FIRST, after="jnz again\nmov edx, 1\njmp again")
    second = common.format(value=SECOND, after=f"int {DONE}")
    start = f"mov ebp, {rounds}\nxor edx, edx\nmov eax, {MAPPED}\njmp eax"
    memory = {
        PROGRAM: assemble(start, 32, PROGRAM),
        FRAME: assemble(first, 32, MAPPED),
        OTHER_FRAME: assemble(second, 32, MAPPED),
    }
    for mode in MODES:
        if mode.paging is not Paging.OFF:
            for switch in SWITCHES.values():
                eax, total = guest(engine).run(mode, memory, switch=switch)
                assert (eax, total) == (SECOND, rounds * FIRST + SECOND & 0xFFFFFFFF), str(mode)
