"""What tier 1 no longer leads to, because stays that begin there are short, other units go on in as before."""

from __future__ import annotations

import pytest

from bt.engine.library.shared import shared_library
from bt.engine.translator import vcpu
from bt.machine import Machine, MachineConfig
from guest_images.assembler import assemble

CODE, MIB = 0x10_0000, 1 << 20
# `shared` is come to from a loop that no unit is made of, and then from one that is made of nothing else.
_PROGRAM = """
    mov esi, 5000
    mov ebp, slow_back
slow:
    cpuid
    mov edi, shared
    jmp edi
slow_back:
    dec esi
    jnz slow
    mov esi, 100000
    mov ebp, fast_back
fast:
    lea ebx, [ebx+esi]
    mov edi, shared
    jmp edi
fast_back:
    dec esi
    jnz fast
    cli
    hlt
shared:
    add ecx, 3
    jmp ebp
"""


def test_a_unit_that_was_left_at_once_is_there_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vcpu, "PATIENCE", 0)
    monkeypatch.setitem(vcpu.HEAT_WANTED, "auto", 1000)  # also where all others are promoted at once
    with Machine(MachineConfig(memory=4 * MIB), library=shared_library()) as made:
        made.load(assemble(_PROGRAM, 32, CODE), flat=CODE)
        result = made.run()
        assert made.cpu.statistics()["unit_insns"] > 0.9 * result.instructions
