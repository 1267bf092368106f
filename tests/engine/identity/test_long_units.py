"""Units of 64-bit code do what the interpreter does."""

from __future__ import annotations

from functools import partial

import pytest

from bt.engine.library.library import load_library
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from guest_images.assembler import assemble_program
from tests import tables
from tests.cases.check import differences
from tests.engine.identity.long_sequences import FloatingSequences, Sequences
from tests.engines import EngineExecutor, EngineFactory, factories
from tests.smc.long_guest import ALIAS, FIRST_TABLE, PROGRAM, LongGuest, Mode

NEVER = 1 << 30  # samples


@pytest.mark.parametrize("kind", [Sequences, FloatingSequences])
@pytest.mark.parametrize(("seed", "times"), [("everyday", 600), pytest.param("long", 10_000, marks=pytest.mark.slow)])
def test_random_sequences(kind: type[Sequences], seed: str, times: int) -> None:
    """Registers, all flags, memory and exceptions are those of the interpreter."""
    _check(kind(seed), times, partial(TranslatingVcpu, tier="2"))


@pytest.mark.parametrize("kind", [Sequences, FloatingSequences])
@pytest.mark.parametrize(("seed", "times"), [("plain", 300), pytest.param("plainer", 10_000, marks=pytest.mark.slow)])
def test_random_sequences_without_reaches(kind: type[Sequences], seed: str, times: int) -> None:
    _check(kind(seed), times, partial(TranslatingVcpu, tier="2", samples=NEVER))


def _check(sequences: Sequences, times: int, engine: EngineFactory) -> None:
    interpreter, units = EngineExecutor(Vcpu), EngineExecutor(engine)
    report = []
    for number in range(times):
        case = sequences.case()
        wanted, got = interpreter.run(case), units.run(case)
        report += [f"{number} {case.text}: {line}" for line in differences(case, wanted, got)]
    (vcpu,) = units._engines.values()
    assert not report, "\n".join(report[:40])
    assert vcpu.control("unit_insns") > 3 * times, "most of it has to be done in units"
    interpreter.close()
    units.close()


# R8 is where a page ends; what follows lies in another frame than the one behind, which is at RDI. RSI is near R8.
_ACROSS = f"""
.bits 64
    mov ebp, 400
    mov r8, {0x31000 + ALIAS}
    mov rdi, 0x35000
    mov rax, 0x123456789ABCDEF0
again:
    imul esi, ebp, 13
    and esi, 63
    lea rsi, [r8 + rsi - 32]
    {{access}}
    add rbx, [rsi - 8]
    add rbx, [r8 - 8]
    add rbx, [r8]
    xor rcx, [rdi]
    rol rbx, 7
    add rax, rbp
    dec ebp
    jnz again
    ud2
"""


@pytest.mark.parametrize("samples", [0, NEVER], ids=["reaches", "no reaches"])
@pytest.mark.parametrize(
    "access",
    [
        "mov [rsi - 4], rax",
        "mov [rsi - 1], ax",
        "mov rdx, [rsi - 3]\nadd rbx, rdx",
        "add [rsi - 7], rax",
        "lea rdx, [rsi - 2]\nmov [rdx], eax",
        "mov edx, -5\nmovsxd rdx, edx\nadd [rsi + rdx], rax\nsbb rbx, [rsi + rdx - 1]",
        "mov [rsi - 12], rax\nmov [rsi - 4], eax\nmov [rsi - 2], eax\nmov rdx, [rsi - 6]\nxor rbx, rdx",
        "movq xmm0, rax\nmovups [rsi - 9], xmm0\nmovups xmm1, [rsi - 15]\nmovq rdx, xmm1\nadd rbx, rdx",
        "lea rsp, [rsi + 3]\npush rax\npop rdx\nadd rbx, rdx",
    ],
)
def test_accesses_across_two_pages(access: str, samples: int) -> None:
    """The second lies elsewhere."""
    entry = (0x35000 | tables.PRESENT | tables.WRITABLE | tables.USER).to_bytes(8, "little")
    code = assemble_program(_ACROSS.format(access=access), 32, PROGRAM).image
    memory = {PROGRAM: code, FIRST_TABLE + 8 * 0x31: entry}
    library, mode = load_library(), Mode(large=False, cpl=0)
    interpreter = LongGuest(factories()["interp"], library)
    units = LongGuest(partial(TranslatingVcpu, tier="2", samples=samples), library)
    assert units.stops(mode, memory, 41) == interpreter.stops(mode, memory, 41)
    assert units.cpu.control("unit_insns") > 200
    assert units.ram.read(0x35000, 64) == interpreter.ram.read(0x35000, 64)
