"""An instruction in two pages, executed time and again: what is known of it goes with its mapping and its bytes."""

from __future__ import annotations

import pytest

from guest_images.assembler import assemble
from tests import tables
from tests.engines import factories
from tests.smc.guest import ALIAS, DONE, PROGRAM, TABLE, Mode, Paging, guest

LOW_FRAME, HIGH_FRAME, OTHER_FRAME = 0x30000, 0x38000, 0x3A000
LINEAR = ALIAS + 0x50000
ENTRY = TABLE + 4 * (0x50000 >> 12)
CODE = LINEAR + 0xFFE  # mov eax, imm32 with three bytes of the operand in the second page; ret
ROUNDS = 4

# what is done before each ROUNDS calls, and what the code answers then
CHANGES = (
    ("", 0x44332211),
    (f"mov dword ptr [{ENTRY + 4}], {OTHER_FRAME | 7}\ninvlpg [{LINEAR + 0x1000}]", 0x77665511),
    (f"mov byte ptr [{LINEAR + 0xFFF}], 0x99", 0x77665599),
    (f"mov byte ptr [{LINEAR + 0x1001}], 0x88", 0x77885599),
    (f"mov word ptr [{CODE}], 0xc391", 0),  # xchg eax, ecx; ret: in one page
    (f"mov word ptr [{CODE}], 0x99b8", 0x77885599),
    (f"mov dword ptr [{ENTRY + 4}], {HIGH_FRAME | 7}\nmov eax, cr3\nmov cr3, eax", 0x44332299),
)
assert tables.WRITABLE | tables.USER | tables.PRESENT == 7


@pytest.mark.parametrize("engine", factories())
def test_an_instruction_across_pages(engine: str) -> None:
    program = f"mov dword ptr [{ENTRY}], {LOW_FRAME | 7}\nmov dword ptr [{ENTRY + 4}], {HIGH_FRAME | 7}\n"
    program += f"mov esi, {CODE}\nxor edx, edx\n"
    for number, (change, _) in enumerate(CHANGES):
        program += f"{change}\nmov ebp, {ROUNDS}\nagain{number}:\nmov eax, 0\nmov ecx, 0\ncall esi\nadd edx, eax\n"
        program += f"rol edx, 3\ndec ebp\njnz again{number}\n"
    memory = {
        LOW_FRAME + 0xFFE: bytes.fromhex("b811"),
        HIGH_FRAME: bytes.fromhex("223344c3"),
        OTHER_FRAME: bytes.fromhex("556677c3"),
        PROGRAM: assemble(f"{program}\nmov eax, edx\nint {DONE}", 32, PROGRAM),
    }
    wanted = 0
    for _, answer in CHANGES:
        for _ in range(ROUNDS):
            wanted = wanted + answer & 0xFFFFFFFF
            wanted = (wanted << 3 | wanted >> 29) & 0xFFFFFFFF
    eax, _ = guest(engine).run(Mode(Paging.SMALL, 0), memory)
    assert eax == wanted
