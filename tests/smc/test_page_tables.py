"""Page tables that are executed: the accessed and dirty bits that walks set in them change code (SDM vol. 3A 4.8)."""

from __future__ import annotations

import pytest

from guest_images.assembler import assemble
from tests.engines import factories
from tests.smc.guest import ALIAS, DONE, PROGRAM, TABLE, Mode, Paging, guest

NUMBER = 100  # of the entry that is code, in the table that maps what begins at ALIAS
ENTRY, PAGE = TABLE + 4 * NUMBER, ALIAS + 0x1000 * NUMBER
ADD, AND, NEITHER = 0x61, 0x10, 0x50  # EAX after the entry's code, from 50h and EBX = 11h
SETUP = f"""
    mov dword ptr [{ENTRY - 4}], 0x90900E{{first_byte:02X}}     ; MOV CL, [ESI] or MOV [ESI], CL; two NOP: not present
    mov dword ptr [{ENTRY}], 0x000CC303         ; ADD EAX, EBX; OR AL, 0: present, writable, frame CC000h, G
    mov dword ptr [{ENTRY + 4}], 0x000CC0C3     ; RET: present, writable, dirty
    mov esi, {PAGE}
    invlpg [esi]
    mov ebx, 0x11
"""
CALL_ENTRY = f"mov eax, 0x50\nmov edx, {ENTRY}\ncall edx"
CALL_BOTH = f"mov eax, 0x50\nmov edx, {ENTRY - 4}\ncall edx"
OFTEN = f"mov ebp, 50\nagain:\n{CALL_ENTRY}\ndec ebp\njnz again\n"
LOAD, STORE = 0x8A, 0x88

# what runs, and what it leaves in EAX: accessed, ADD EAX, EBX is AND EAX, EBX; also dirty it is ARPL BX, AX
HISTORIES = {
    "not walked": (CALL_ENTRY, LOAD, ADD),
    "read": (f"mov cl, [esi]\n{CALL_ENTRY}", LOAD, AND),
    "written": (f"mov [esi], cl\n{CALL_ENTRY}", LOAD, NEITHER),
    "run, read": (f"{CALL_ENTRY}\nmov cl, [esi]\n{CALL_ENTRY}", LOAD, AND),
    "run often, read": (f"{OFTEN}mov cl, [esi]\n{CALL_ENTRY}", LOAD, AND),
    "run often, written": (f"{OFTEN}add [esi], cl\n{CALL_ENTRY}", LOAD, NEITHER),
    "run often, read by a string instruction": (f"{OFTEN}lodsb\n{CALL_ENTRY}", LOAD, AND),
    "run, executed": (f"mov byte ptr [0xCC000], 0xC3\n{CALL_ENTRY}\ncall esi\n{CALL_ENTRY}", LOAD, AND),
    "read by the block itself": (CALL_BOTH, LOAD, AND),
    "written by the block itself": (CALL_BOTH, STORE, NEITHER),
}


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_accessed_and_dirty_bits_change_code(engine: str, history: str) -> None:
    code, first_byte, expected = HISTORIES[history]
    program = assemble(f"{SETUP.format(first_byte=first_byte)}\n{code}\nint {DONE}", 32, PROGRAM)
    for paging in (Paging.SMALL, Paging.LARGE):
        eax, _ = guest(engine).run(Mode(paging, 0), {PROGRAM: program})
        assert eax == expected, paging


@pytest.mark.parametrize("engine", factories(unpaged=False))
def test_an_instruction_whose_second_page_marks_it(engine: str) -> None:
    """The last entry of a table is the beginning of an instruction that ends in the page it maps.

    ADD EAX, [B000Ch], which is AND once the page has been fetched from; which of them runs first is the processor's
    affair (SDM vol. 3A 8.1.3).
    """
    table, last = ALIAS + (1022 << 12), TABLE + 4 * 1023
    program = f"""
        mov dword ptr [{last - 4}], {TABLE + 3}
        mov dword ptr [{last}], 0x000C0503
        mov dword ptr [0xC0000], 0x90C3000B
        mov dword ptr [0xB000C], 0x11
        invlpg [{table}]
        invlpg [{table + 0x1000}]
        mov edx, {table + 0xFFC}
        call edx
        mov eax, 0x50
        call edx
        int {DONE}
    """
    for paging in (Paging.SMALL, Paging.LARGE):
        eax, _ = guest(engine).run(Mode(paging, 0), {PROGRAM: assemble(program, 32, PROGRAM)})
        assert eax == AND, paging
