"""x87 in tier 2: whatever a unit is left by, the state knows the last x87 instruction and its operand."""

from __future__ import annotations

import pytest

from bt.engine.library.shared import shared_library
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result
from guest_images.assembler import assemble
from tests.engine.identity.stops import CODE, DATA, MIB, Seen, stops

DEVICE = 0xE000_0000
POINTERS = ("fpu_ip", "fpu_cs", "fpu_dp", "fpu_ds")
# what is done in a loop of 200 rounds, EBX at memory, EBP at a device
ROUNDS = {
    "the loop itself": "fld dword ptr [ebx+4]\nfaddp st(1)",
    "no operand": "fld1\nfaddp st(1)",
    "an operand early": "fadd dword ptr [ebx+8]\nfchs\nadd eax, ecx",
    "operands of two segments": "fld dword ptr [esp-16]\nfaddp st(1)\nfadd dword ptr [ebx+12]",
    "a side exit": "fadd dword ptr [ebx]\ntest cl, 3\njz over\nfmul dword ptr [ebx+4]\nover:\ninc eax",
    "a call": "fadd dword ptr [ebx]\ncall function\nfchs",
    "an indirect jump": "fld1\nmov edx, there\nfstp dword ptr [ebx+64]\njmp edx\nthere:\ninc eax",
    "a service": "fadd dword ptr [ebx]\npushfd\npopfd\nbsf eax, ecx\ninc edx",
    "a service before": "cpuid\nmov ebx, 0x200000\nfadd dword ptr [ebx]\nmov ecx, esi",
    "another unit": "fadd dword ptr [ebx+16]\njmp on\non:\nsub eax, 1\njc further\nfchs\nfurther:\nnop",
    "a device": "fadd dword ptr [ebx+16]\nmov eax, [ebp]\nfchs",
    "an operand in a device": "fchs\nfld dword ptr [ebp]\nfstp dword ptr [ebx+4]",
    "SSE behind it": "fadd dword ptr [ebx+16]\nmovups xmm0, [ebx]\naddps xmm0, xmm1",
    "what shows them": "fadd dword ptr [ebx+16]\nfnstenv [ebx+256]\nfldcw [ebx+256]\nfchs",
    "what shows them, alone": "fchs\nadd eax, 1\nfnstenv [ebx+256]\nfld1\nfaddp st(1)",
    "MMX behind it": "fadd dword ptr [ebx+16]\nfnstsw ax\nwait",
}
_PROGRAM = f"""
    mov eax, cr4
    or eax, 0x200
    mov cr4, eax
    fninit
    fldz
    mov ebx, {DATA}
    mov esp, {DATA + 0x1000}
    mov ebp, {DEVICE}
    mov esi, 200
again:
    mov ecx, esi
    {{body}}
    dec esi
    jnz again
    cli
    hlt
function:
    fmul dword ptr [ebx+20]
    ret
"""


def _run(engine: EngineName, tier: TierName, body: str, step: int) -> tuple[list[Seen], int]:
    """Instructions, EIP and pointers at each stop after `step` instructions, memory then; instructions in units."""

    def look(made: Machine, result: Result) -> Seen:
        state = made.cpu.state
        return result.instructions, state["eip"], *(state[name] for name in POINTERS)

    return stops(engine, tier, assemble(_PROGRAM.format(body=body), 32, CODE), step, 0x1000, look)


@pytest.mark.parametrize("step", [100_000, 337])
@pytest.mark.parametrize("name", ROUNDS)
def test_pointers_are_those_of_the_interpreter(name: str, step: int) -> None:
    wanted, _ = _run("interp", "1", ROUNDS[name], step)
    found, in_units = _run("bt", "2", ROUNDS[name], step)
    assert found == wanted
    assert in_units > 200


@pytest.mark.parametrize(
    ("instruction", "is_encoded"),
    [("movq mm0, [ebx]", False), ("movq [ebx], mm0", False), ("paddb mm0, mm1", True), ("cvtpi2ps xmm0, [ebx]", True)],
)
def test_mmx_instructions_that_may_fault_are_the_interpreters(instruction: str, is_encoded: bool) -> None:
    """On Intel's processors they change the x87 stack although they fault."""
    with Machine(MachineConfig(memory=4 * MIB, tier="2"), library=shared_library()) as made:
        made.load(assemble(_PROGRAM.format(body=instruction), 32, CODE), flat=CODE)
        made.run()
        statistics = made.cpu.statistics()
        assert statistics["units_made"] > 0
        assert (statistics["unit_services"] < 100) is is_encoded
