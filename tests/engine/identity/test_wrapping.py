"""Addresses that wrap, in tier 2: units reach guest memory from the view's base on, and what would leave the view."""

from __future__ import annotations

import pytest

from bt.engine.library.shared import shared_library
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result
from guest_images.assembler import assemble
from tests.engine.identity.stops import CODE, DATA, MIB, Seen, stops

# What is done in a loop of 200 rounds; EBX is -256, EDX is 0, ESI counts down.
WRAPPING = {
    "a base": f"mov eax, [ebx+{DATA + 0x200}]\nadd eax, esi\nmov [ebx+{DATA + 0x204}], eax",
    "an index": f"add dword ptr [ebx*4+{DATA + 0x600}], esi\nadc eax, [ebx*8+{DATA + 0xA00}]",
    "both": f"lea edi, [ebx*2]\nmov [edi+ebx*4+{DATA + 0x800}], esi\nmov [ebx+{DATA + 0x300}], edi",
    "flags around": f"sub eax, [ebx+{DATA + 0x200}]\n"
    f"sbb [ebx+{DATA + 0x208}], eax\nsetc cl\nadd [ebx+{DATA + 0x200}], cl",
    "an indirect jump": f"mov edi, next\nmov [ebx+{DATA + 0x200}], edi\njmp dword ptr [ebx+{DATA + 0x200}]\nnext:",
}
# The same with addresses where there is nothing.
NOWHERE = {
    "below 0": "mov eax, [edx-16]\nmov [edx-32], eax",
    "around the end": "mov eax, [edx-2]\nmov edi, -2\nadd eax, [edi]\nmov [edi], eax",
    "some of the time": f"mov edi, esi\nand edi, 3\nsub edi, 1\nmov eax, [edi*8+{DATA}]\nmov [edi*4+{DATA + 64}], eax",
}
_PROGRAM = f"""
    mov esp, {DATA + 0x1000}
    mov ebx, -256
    mov edx, 0
    mov esi, 200
again:
    mov ecx, esi
    {{body}}
    dec esi
    jnz again
    cli
    hlt
"""


def _run(engine: EngineName, tier: TierName, body: str, step: int) -> tuple[list[Seen], int]:
    def look(made: Machine, result: Result) -> Seen:
        registers = [made.cpu.state["gpr", number] for number in range(8)]
        return result.reason, result.instructions, made.cpu.state["eip"], made.reg.eflags, *registers

    return stops(engine, tier, assemble(_PROGRAM.format(body=body), 32, CODE), step, 0x1000, look)


@pytest.mark.parametrize("step", [100_000, 337])
@pytest.mark.parametrize("name", [*WRAPPING, *NOWHERE])
def test_addresses_wrap_as_in_the_interpreter(name: str, step: int) -> None:
    body = (WRAPPING | NOWHERE)[name]
    wanted, _ = _run("interp", "1", body, step)
    found, in_units = _run("bt", "2", body, step)
    assert found == wanted
    assert in_units > 200


@pytest.mark.parametrize("name", WRAPPING)
def test_what_wraps_is_soon_made_to_wrap(name: str) -> None:
    with Machine(MachineConfig(memory=4 * MIB, tier="2"), library=shared_library()) as made:
        made.load(assemble(_PROGRAM.format(body=WRAPPING[name]), 32, CODE), flat=CODE)
        made.run()
        statistics = made.cpu.statistics()
        assert 8 <= statistics["unit_faults"] < 50
        assert statistics["unit_services"] < 10
