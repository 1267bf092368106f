"""A unit of 64-bit code that has died stays dead, though where it leads to gets a unit anew."""

from __future__ import annotations

import pytest

from guest_images.assembler import assemble_program
from tests.engines import factories
from tests.smc.long_guest import PROGRAM, RAM_BYTES, Mode, long_guest

_NOPS, _INCREMENT = 0x90909090, 0x90C3FF48  # inc rbx; nop
# The loop changes `middle`, which is nothing in a unit but a jump, and `last`; comes to `last`, and then to `middle`.
_TEXT = f"""
.bits 64
    mov ebp, 40
    xor ebx, ebx
again:
    mov esi, middle
    xor dword ptr [rsi], {_NOPS ^ _INCREMENT}
    mov esi, last
    xor byte ptr [rsi + 1], 1
    mov ecx, 1
    jmp last
first:
    mov edx, 1
    jmp middle
next:
    dec ebp
    jnz again
    ud2
last:
    mov al, 1
    sub ecx, 1
    jz first
    jmp next
middle:
    nop
    nop
    nop
    nop
    jmp last
"""


@pytest.mark.parametrize("engine", [name for name in factories() if name != "interp"])
def test_a_dead_unit_is_not_brought_back_by_a_link(engine: str) -> None:
    memory = {PROGRAM: assemble_program(_TEXT, 32, PROGRAM).image}
    outcomes = []
    for name in ("interp", engine):
        guest = long_guest(name)
        result = guest.run(Mode(large=False, cpl=0), memory, target=0x50000)
        outcomes.append((result, guest.ram.read(0, RAM_BYTES)))
    assert outcomes[0][0] == outcomes[1][0] == 20
    assert outcomes[0] == outcomes[1]
