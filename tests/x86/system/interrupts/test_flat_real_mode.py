"""Flat 32-bit segments while CR0.PE is clear: events go through the vector table of real mode all the same."""

from __future__ import annotations

import pytest

from bt.x86.exits import ExitReason
from guest_images.assembler import assemble
from tests.engines import factories
from tests.smc.guest import IDT, KERNEL_DATA, PROGRAM, Mode, Paging, guest

HANDLER = PROGRAM + 0x100
INVALID_OPCODE = 6


@pytest.mark.parametrize("engine", factories())
def test_an_exception(engine: str) -> None:
    """What protected mode would read, IDT, GDT and stack, is in the TLB."""
    program = f"""
        mov eax, {KERNEL_DATA}
        mov ds, eax
        push eax
        mov eax, [{IDT + 8 * INVALID_OPCODE}]
        mov dword ptr [{IDT + 4 * INVALID_OPCODE}], {(HANDLER >> 4) << 16}
        mov eax, cr0
        and eax, 0xFFFFFFFE
        mov cr0, eax
        ud2
    """
    memory = {PROGRAM: assemble(program, 32, PROGRAM), HANDLER: b"\xf4"}
    cpu = guest(engine).start(Mode(Paging.OFF, 0), memory)
    assert cpu.run(1000).reason is ExitReason.HLT
    assert cpu.state["eip"] == 1
