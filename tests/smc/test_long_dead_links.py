"""A unit of 64-bit code that has died stays dead, though where it leads to gets a unit anew, and though others come to
it that have not saved the flags."""

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


_COMPARE, _FOUR_NOPS = 0x9005F983, 0x90909090  # cmp ecx, 5; nop
# Others come to `target` with flags that it overwrites at once, but for every eighth round, when it does not.
# (The jump behind the write is where the interpreter comes to a unit again.)
_SEEN = f"""
.bits 64
    mov ebp, 400
    xor ebx, ebx
target:
    nop
    nop
    nop
    nop
    pushfq
    pop rdi
    and edi, 0x8D5
    ror rbx, 1
    add rbx, rdi
    mov esi, target
    mov edx, {_COMPARE}
    dec ebp
    jz done
    test ebp, 7
    jnz write
    mov edx, {_FOUR_NOPS}
write:
    cmp dword ptr [rsi], edx
    je there
    mov dword ptr [rsi], edx
    jmp there
    nop
there:
    mov ecx, ebp
    {{makes}}
    jp target
    nop
    jmp target
done:
    ud2
"""


@pytest.mark.parametrize("makes", ["cmp ecx, 200", "shl ecx, 27", "inc ecx", "imul ecx, ecx, 0x12345", "add ecx, ecx"])
@pytest.mark.parametrize("engine", [name for name in factories() if name != "interp"])
def test_a_dead_unit_passes_flags_on(engine: str, makes: str) -> None:
    memory = {PROGRAM: assemble_program(_SEEN.format(makes=makes), 32, PROGRAM).image}
    sums = [long_guest(name).run(Mode(large=False, cpl=0), memory, target=0x50000) for name in ("interp", engine)]
    assert sums[0] == sums[1]
