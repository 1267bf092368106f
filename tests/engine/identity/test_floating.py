"""x87 in tier 2: whatever a unit is left by, the state knows the last x87 instruction and its operand."""

from __future__ import annotations

import pytest

from bt.engine.library.shared import shared_library
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result
from guest_images.assembler import assemble
from tests.engine.identity.stops import CODE, DATA, MIB, Seen, stops
from tests.engine.identity.test_paging import BEHIND, ENTRY, compared
from tests.engines import TIER_2
from tests.smc.guest import MAP, MAPPED, Mode, Paging, guest

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


MMX = {
    "loads": "movq mm0, [ebx]\nmovd mm1, [ebx+esi]\npaddb mm0, [ebx+8]\npinsrw mm0, [ebx+17], 2\nmovq [ebx+64], mm0",
    "stores": "movq [ebx+64], mm0\nmovd [ebx+esi+80], mm1\nmovntq [ebx+72], mm2\npaddd mm2, mm0\nmovq mm1, [ebx+64]",
    "x87 in between": "movq mm0, [ebx]\nemms\nfld dword ptr [ebx+4]\nmovq [ebx+64], mm0\npaddd mm0, mm1\nemms",
    "alone": "emms\nfldz\npsubw mm0, [ebx+8]",
    "flags through them": "cmp esi, 100\nmovq mm0, [ebx]\nadc eax, eax\nmovq [ebx+64], mm0\nadc eax, esi",
    "a side exit": "emms\ntest cl, 3\njz over\nmovq mm0, [ebx]\nover:\nmovq [ebx+64], mm0",
    "a service": "movq mm0, [ebx]\ncpuid\nmov ebx, 0x200000\nmov ecx, esi\nmovq [ebx+64], mm0",
    "from a device": "movq mm0, [ebp]\nmovq [ebx+64], mm0",
}


@pytest.mark.parametrize("step", [100_000, 337])
@pytest.mark.parametrize("name", MMX)
def test_mmx(name: str, step: int) -> None:
    """All that FXSAVE shows but the two pointers, which are the host's in its image."""

    def look(made: Machine, result: Result) -> Seen:
        state = made.cpu.state
        images = (state["fp_image", number] for number in (0, *range(3, 64)))
        return result.instructions, state["eip"], made.reg.eflags, *images

    def run(engine: EngineName, tier: TierName) -> tuple[list[Seen], int]:
        return stops(engine, tier, assemble(_PROGRAM.format(body=MMX[name]), 32, CODE), step, 0x1000, look)

    found, in_units = run("bt", "2")
    assert found == run("interp", "1")[0]
    assert in_units > 200


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (f"fild dword ptr [{MAPPED}]\nmovq mm0, [{BEHIND}]\nemms", 1),
        (f"fild dword ptr [{MAPPED}]\nmovq [{BEHIND}], mm0\nemms", 2),
        (f"fild dword ptr [{MAPPED}]\nmovd [{BEHIND + 4}], mm0\nemms", 1),
        (f"fild dword ptr [{MAPPED}]\npaddd mm0, [{BEHIND - 4}]\nemms", 1),
        (f"movq mm1, [{MAPPED}]\npaddw mm1, [{BEHIND}]\nmovq [{MAPPED + 8}], mm1", 1),
        (f"movq mm1, [{MAPPED}]\npaddw mm1, mm2\nmovq [{BEHIND - 4}], mm1", 2),
    ],
)
@pytest.mark.parametrize("cpl", [0, 3])
def test_mmx_instructions_that_fault_leave_the_x87_stack(cpl: int, body: str, change: int) -> None:
    """Intel's processors do not, if the instruction itself faults."""
    loop = f"mov ecx, 90\n{{0}}:\n{body}\ndec ecx\njnz {{0}}\n"
    program = f"fninit\n{loop.format('again')}int {MAP}\nfninit\nfld1\n{loop.format('once')}"
    switch = f"mov edi, [{ENTRY + 4}]\nxor edi, {change}\nmov [{ENTRY + 4}], edi\ninvlpg [{BEHIND}]"
    before = guest(TIER_2).cpu.statistics()
    compared(Mode(Paging.SMALL, cpl), program, switch)
    assert guest(TIER_2).cpu.statistics()["unit_services"] - before["unit_services"] < 20


def test_an_mmx_instruction_behind_another_is_itself() -> None:
    """What it accesses need not be tried before."""
    units = []
    body = "movq mm0, [ebx]\nmovq mm1, [ebx+8]\nmovq [ebx+64], mm0\nmovq [ebx+72], mm1"
    with Machine(MachineConfig(memory=4 * MIB, tier="2"), library=shared_library()) as made:
        made.load(assemble(_PROGRAM.format(body=body), 32, CODE), flat=CODE)
        processor = made.cpu
        assert isinstance(processor, TranslatingVcpu)
        processor.unit_observer = lambda trace, unit: units.append(trace.steps)
        made.run()
    loops = [[placed.step.guards for placed in steps if placed.step.needs] for steps in units]
    assert any(loops)
    for guards in filter(None, loops):
        assert guards == [1, *[0] * (len(guards) - 1)]
