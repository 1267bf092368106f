"""Stores of units to the page that their code is in: to data beside it, and to the code itself."""

from __future__ import annotations

import pytest

from bt.engine.library.shared import shared_library
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result
from bt.x86.state import EBP
from guest_images.assembler import assemble
from tests.engine.identity.operands import check_operands
from tests.engine.identity.stops import CODE, MIB, Seen, stops

BESIDE = CODE + 0x800
# What is done in a loop of 300 rounds; ESI counts down, EBX is BESIDE, EDX a number.
STORES = {
    "a byte, a word, more": "mov [ebx+7], dl\nmov [ebx+8], dx\nmov [ebx+12], edx\nmov [ebx+esi*2+64], dh",
    "at no register": f"mov [{BESIDE + 4}], edx\nmov dword ptr [{BESIDE + 8}], eax\nmov dword ptr [{BESIDE + 12}], 77",
    "flags before and behind": "cmp esi, edx\nadc [ebx], edx\nsbb edx, [ebx]\nsetc [ebx+5]\ninc dword ptr [ebx+8]\n"
    "shl dword ptr [ebx+12], 3\nlahf\nmov [ebx+esi*2+64], ax\nseto [ebx+6]",
    "flags through it": "add eax, edx\nmov [ebx], eax\nsetp [ebx+4]\njo over\nmov [ebx+8], edx\nover:\nseto [ebx+5]",
    "exchanges": "xchg [ebx], edx\nxchg [ebx+10], dx\nxchg [ebx+12], dl\n"
    "xadd [ebx+4], edx\nmov eax, [ebx]\ncmpxchg [ebx], esi\nlock dec dword ptr [ebx+8]",
    "eight bytes": "mov eax, [ebx+16]\nmov edx, [ebx+20]\nmov ecx, esi\nlock cmpxchg8b [ebx+16]\nmov edx, [ebx+20]",
    "selectors": "mov [ebx], ds\nstr [ebx+2]\nmov [ebx+4], cs",
    "bits": "bts dword ptr [ebx], 5\nbtr dword ptr [ebx+4], 9\nnot dword ptr [ebx+8]\nneg byte ptr [ebx+12]",
    "x87": "mov [ebx], esi\nfild dword ptr [ebx]\nfst dword ptr [ebx+8]\nfst qword ptr [ebx+16]\n"
    "fistp word ptr [ebx+24]\nfnstcw [ebx+32]",
    "SSE": "movd xmm0, esi\nmovups [ebx+20], xmm0\nmovaps [ebx+48], xmm0\nmovss [ebx+4], xmm0\nmovq [ebx+8], xmm0",
    "the stack": "lea esp, [ebx+0x100]\npush edx\npush 5\ncall function\npop eax\npop ecx",
    "strings": "mov edi, ebx\nmov eax, esi\nstosd\nstosb\nlea ecx, [ebx+64]\nxchg ecx, esi\nmovsd\nmov esi, ecx",
    "repeated": "lea edi, [ebx+70]\nmov ecx, 41\nmov al, dl\nrep stosb\nlea edi, [ebx+0x7f0]\nmov ecx, 9\nrep stosd",
    "repeated, over code": "lea edi, [function-60]\nmov eax, edx\nmov al, 0x90\nmov ecx, 20\nrep stosb\n"
    "lea edi, [function+1]\nmov al, dl\nmov ecx, 1\nrep stosb\ncall function\nmov [ebx], eax",
    "across the page": "mov [ebx+0x7fe], edx\nmov [ebx+0x7ff], dx\nmov eax, [ebx+0x800]\nmov [ebx+0x7fc], eax",
    "some of it elsewhere": f"mov eax, esi\nand eax, 1\nshl eax, 16\nmov [ebx+eax], edx\nmov [eax+{CODE + 0x7FC}], esi",
    "in the granule of code": "mov [data], edx\nadd edx, [data]",
    "code": "mov byte ptr [function+1], dl\ncall function\nmov [ebx], eax",
    "this very code": "mov eax, edx\nmov byte ptr [patched+1], al\npatched:\nmov cl, 5\nmov [ebx], ecx",
    "what comes next": "mov byte ptr [again+1], 3\nmov [ebx], esi",
}
_PROGRAM = f"""
    mov eax, cr4
    or eax, 0x200
    mov cr4, eax
    fninit
    mov esp, 0x300000
    mov ebx, {BESIDE}
    mov edx, 0x12345678
    mov esi, 300
again:
    mov ch, 3
    imul edx, edx, 69069
    {{body}}
    dec esi
    jnz again
    cli
    hlt
    .byte 0
    .space 64
function:
    mov al, 1
    ret
data:
    .long 0, 0
"""


def _run(engine: EngineName, tier: TierName, body: str, step: int) -> list[Seen]:
    def look(made: Machine, result: Result) -> Seen:
        registers = [made.cpu.state["gpr", number] for number in range(8)]
        memory = made.ram.read(CODE, 0x1100)
        return result.reason, result.instructions, made.cpu.state["eip"], made.reg.eflags, memory, *registers

    return stops(engine, tier, assemble(_PROGRAM.format(body=body), 32, CODE), step, 16, look)[0]


@pytest.mark.parametrize("step", [100_000, 337])
@pytest.mark.parametrize("name", STORES)
def test_stores_beside_code_are_those_of_the_interpreter(name: str, step: int) -> None:
    assert _run("bt", "2", STORES[name], step) == _run("interp", "1", STORES[name], step)


@pytest.mark.parametrize("name", ["at no register", "flags before and behind", "exchanges", "x87", "SSE"])
def test_units_do_them(name: str) -> None:
    with Machine(MachineConfig(memory=4 * MIB, tier="2"), library=shared_library()) as made:
        made.load(assemble(_PROGRAM.format(body=STORES[name]), 32, CODE), flat=CODE)
        made.run()
        statistics = made.cpu.statistics()
        assert statistics["unit_services"] < 20  # what is before the loop
        assert statistics["unit_insns"] > 1000
        assert statistics["unit_faults"] < 300  # there are thousands of stores
        assert isinstance(made.cpu, TranslatingVcpu)
        assert made.cpu.identity is not None
        assert check_operands(made.cpu.identity.emitted()) > 0


@pytest.mark.parametrize(("engine", "tier"), [("interp", "1"), ("bt", "1"), ("bt", "2")])
@pytest.mark.parametrize("store", ["rep stosb", "stosb", "mov [edi], al"])
def test_code_that_is_stored_to_is_new_code(engine: EngineName, tier: TierName, store: str) -> None:
    """EBP has the bits by which what the function answers differs from what was stored there."""
    body = f"mov eax, 0\nlea edi, [function+1]\nmov al, dl\nmov ecx, 1\n{store}\ncall function\nxor al, dl\nor ebp, eax"
    program = _PROGRAM.format(body=body).replace("again:", "mov ebp, 0\nagain:", 1)
    with Machine(MachineConfig(memory=4 * MIB, engine=engine, tier=tier), library=shared_library()) as made:
        made.load(assemble(program, 32, CODE), flat=CODE)
        made.run()
        assert made.cpu.state["gpr", EBP] == 0
