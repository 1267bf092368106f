"""Instructions that are several in a unit: results and flags are the interpreter's, which is seldom asked."""

from __future__ import annotations

import pytest

from bt.machine import Machine
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result
from guest_images.assembler import assemble
from tests.engine.identity.stops import CODE, DATA, Seen, stops

# What is done in a loop of 200 rounds; ESI counts down, EBX is DATA, EDI -1. AH gets the flags.
BODIES = {
    "bsf": "bsf eax, esi\nmov edx, esi\nshl edx, 13\nbsf ecx, edx",
    "bsr": "mov edx, esi\nshl edx, 13\nbsr eax, edx\nbsr ebp, esi",
    "bsf of zero": "mov eax, esi\nand eax, 1\nmov edx, 0x87654321\nbsf edx, eax",
    "bsr of zero": "mov eax, esi\nand eax, 2\nmov edx, 0x87654321\nbsr edx, eax",
    "bsf of itself": "mov eax, esi\nand eax, 5\nbsf eax, eax",
    "words": "lea edx, [esi-3]\nmov ebp, edi\nbsf bp, dx\nmov eax, edi\nshl edx, 8\nbsr ax, dx",
    "in memory": "mov [ebx+512], esi\nbsf edx, [ebx+512]\nmov word ptr [ebx+514], si\nbsr ax, [ebx+514]",
    "cmpxchg8b, alike and not": "mov eax, esi\nand eax, 1\nmov edx, 0\nmov [ebx+512], esi\nand dword ptr [ebx+512], 3\n"
    "mov dword ptr [ebx+516], 0\nmov ecx, esi\nlea ebp, [ebx+512]\ncmp esi, 100\ncmpxchg8b [ebp]\nmov [ebx+520], edx",
    "cmpxchg8b, locked": "mov eax, [ebx+600]\nmov edx, [ebx+604]\nmov ecx, esi\nlock cmpxchg8b [ebx+600]",
    "exchanges": "xchg [ebx+512], esi\nxchg [ebx+512], esi\nxchg [ebx+518], bp\ncmp esi, 100\nxchg [ebx+524], ebp\n"
    "xchg [ebx+530], dl\nlea edx, [ebx+540]\nxchg edx, [edx]\nmov edx, [ebx+540]",
    "direction": "std\nlea ebp, [ebx+512]\nxchg ebp, edi\nstosd\ncmp esi, 100\ncld\nstosd\nxchg ebp, edi\nmov eax, ebp",
    "truncation": "mov [ebx+512], esi\nfild dword ptr [ebx+512]\nfmul dword ptr [ebx+528]\nfnstcw [ebx+516]\n"
    "mov ax, [ebx+516]\nor ah, 0xc\nmov [ebx+518], ax\nfldcw [ebx+518]\nfistp dword ptr [ebx+520]\n"
    "fldcw [ebx+516]\nmov edx, [ebx+520]\nadd ebp, edx\ncmp edx, 7",
    "reserved bits of the control word": "mov eax, esi\nshl eax, 8\nor eax, 0x3f\nmov [ebx+512], eax\nfldcw [ebx+512]\n"
    "fnstcw [ebx+516]\nmovzx edx, word ptr [ebx+516]\nfldcw [ebx+524]",
    "rounding of SSE": "stmxcsr [ebx+512]\nmov eax, esi\nand eax, 3\nshl eax, 13\nor eax, 0x1f80\nmov [ebx+516], eax\n"
    "cmp esi, 55\nldmxcsr [ebx+516]\ncvtss2si edx, [ebx+528]\ncvtsi2ss xmm0, esi\nmulss xmm0, [ebx+528]\n"
    "cvtss2si ebp, xmm0\nldmxcsr [ebx+512]",
}
# The same where the interpreter has to look: what is not masked, what is not there.
TRAPS = {
    "unmasked": "mov eax, esi\nand eax, 0x40\nshr eax, 6\nxor eax, 0x37f\nmov [ebx+512], eax\nfldcw [ebx+512]\nfld1",
    "unmasked SSE": "mov eax, esi\nand eax, 0x40\nshl eax, 3\nxor eax, 0x1f80\nmov [ebx+512], eax\nldmxcsr [ebx+512]\n"
    "addss xmm0, xmm1",
    "DAZ": "mov dword ptr [ebx+512], 0x1fc0\nldmxcsr [ebx+512]\nmov dword ptr [ebx+512], 0x1f80\nldmxcsr [ebx+512]",
    "nothing there": "lea eax, [ebx+0xc0000000]\nbsf edx, [eax]\nfldcw [ebx+516]\nbsr edx, [eax+4]",
}
_PROGRAM = f"""
    mov eax, cr4
    or eax, 0x200
    mov cr4, eax
    fninit
    mov esp, {DATA + 0x1000}
    mov ebx, {DATA}
    mov dword ptr [ebx+528], 0x3fa66666
    mov word ptr [ebx+516], 0x37f
    mov word ptr [ebx+524], 0x37f
    mov edi, -1
    mov esi, 200
again:
    {{body}}
    lahf
    mov [ebx+esi*2], ax
    seto [ebx+esi+800]
    dec esi
    jnz again
    cli
    hlt
"""


def _run(engine: EngineName, tier: TierName, body: str, step: int) -> tuple[list[Seen], int]:
    services = 0

    def look(made: Machine, result: Result) -> Seen:
        nonlocal services
        services = made.cpu.statistics().get("unit_services", 0)
        registers = [made.cpu.state["gpr", number] for number in range(8)]
        control = made.cpu.state["fpu_control"], made.cpu.state["mxcsr_masks"]
        return result.reason, result.instructions, made.cpu.state["eip"], made.reg.eflags, *control, *registers

    seen, in_units = stops(engine, tier, assemble(_PROGRAM.format(body=body), 32, CODE), step, 0x1000, look)
    return seen, 0 if services > 100 else in_units


@pytest.mark.parametrize("step", [100_000, 337])
@pytest.mark.parametrize("name", BODIES)
def test_sequences_do_as_the_interpreter_does(name: str, step: int) -> None:
    wanted, _ = _run("interp", "1", BODIES[name], step)
    found, in_units = _run("bt", "2", BODIES[name], step)
    assert found == wanted
    assert in_units > 800


@pytest.mark.parametrize("name", TRAPS)
def test_what_traps_is_the_interpreters(name: str) -> None:
    wanted, _ = _run("interp", "1", TRAPS[name], 337)
    found, _ = _run("bt", "2", TRAPS[name], 337)
    assert found == wanted
