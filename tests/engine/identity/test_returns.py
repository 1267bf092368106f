"""Calls and returns within a trace: a return goes on in it only where the guest goes on."""

from __future__ import annotations

import pytest

from bt.engine.library.shared import shared_library
from bt.engine.translator import vcpu
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result
from guest_images.assembler import assemble
from tests.engine.identity.stops import CODE, DATA, MIB, Seen, stops

# What a loop of 300 rounds does, and the functions it calls. ESI counts down; EDI is DATA.
BODIES = {
    "flags die behind it": ("call function\nadd ebx, eax", "function:\nadd eax, esi\nret"),
    "flags live on": ("call function\nadc ebx, ecx\nsetc [edi]", "function:\nadd eax, 0x31234567\nret"),
    "a fault behind it": (
        "call function\nmov edx, [edi+8]\npushfd\npop edx\nmov [edi+12], edx",
        "function:\nsub eax, ecx\nret",
    ),
    "parameters": ("push esi\npush eax\ncall function\nxor ebx, eax", "function:\nmov eax, [esp+8]\nret 8"),
    "within another": (
        "call function\nadd ebx, eax",
        "function:\ncall inner\nsbb edx, eax\ncall inner\nret\ninner:\nrol eax, 3\nadd eax, esi\nret",
    ),
    "to itself": (
        "mov ecx, esi\nand ecx, 3\ncall function\nadd ebx, eax",
        "function:\ndec ecx\njs over\ncall function\nadd eax, 3\nover:\nret",
    ),
    "elsewhere, now and then": (
        "call function\nadd ebx, 1\nadd ebx, 1\nadd ebx, 0x1000",
        "function:\ntest esi, 15\nsetz dl\nmovzx edx, dl\nlea edx, [edx+edx*2]\nadd [esp], edx\nret",
    ),
    "elsewhere, with flags": (
        "call function\ninc ebx\nsetc [edi]\nmov [edi+4], ecx\ninc edx",
        "function:\ntest esi, 15\nsetz dl\nmovzx edx, dl\nadd [esp], edx\nstc\nret",
    ),
    "where a path that is long ends": (
        "xor eax, eax\nadd eax, esi\n" + "lea edx, [edx+3]\n" * 70 + "call function\nadc ebx, ecx\nsetc [edi]",
        "function:\n" + "lea edx, [edx+5]\n" * 40 + "add eax, 0xfffffff5\nret",
    ),
    "never": ("call function\nback:\nadc ebx, esi", "function:\npop edx\nmov edx, back\njmp edx"),
    "a pushed one": ("mov edx, back\npush edx\njmp function\nback:\nadd ebx, eax", "function:\nadd eax, 7\nret"),
}
_PROGRAM = f"""
    mov esp, {DATA + 0x1000}
    mov edi, {DATA}
    mov esi, 300
again:
    {{body}}
    dec esi
    jnz again
    cli
    hlt
{{functions}}
"""


def _image(name: str) -> bytes:
    body, functions = BODIES[name]
    return assemble(_PROGRAM.format(body=body, functions=functions), 32, CODE)


def _run(engine: EngineName, tier: TierName, name: str, step: int) -> tuple[list[Seen], int]:
    def look(made: Machine, result: Result) -> Seen:
        registers = [made.cpu.state["gpr", number] for number in range(8)]
        return result.reason, result.instructions, made.cpu.state["eip"], made.reg.eflags, *registers

    return stops(engine, tier, _image(name), step, 0x1000, look)


@pytest.fixture(autouse=True)
def _paths_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces are made along paths, as soon as something has come round a few times."""
    monkeypatch.setitem(vcpu.HEAT_WANTED, "2", 4)


@pytest.mark.parametrize("step", [100_000, 337, 61])
@pytest.mark.parametrize("name", BODIES)
def test_they_are_those_of_the_interpreter(name: str, step: int) -> None:
    wanted, _ = _run("interp", "1", name, step)
    found, in_units = _run("bt", "2", name, step)
    assert found == wanted
    assert step < 100 or in_units > 200


def test_a_loop_that_calls_is_one_unit() -> None:
    with Machine(MachineConfig(memory=4 * MIB, tier="2"), library=shared_library()) as made:
        made.load(_image("within another"), flat=CODE)
        result = made.run()
        statistics = made.cpu.statistics()
        assert statistics["unit_insns"] > 0.8 * result.instructions
        assert statistics["units_made"] < 3
        assert statistics["unit_misses"] < 20
