"""Registers sit where a plan says: our own host instructions, gates and stencils of a second plan beside the first."""

from __future__ import annotations

import pytest

from bt.codegen import host_bytes
from bt.codegen.abi import ARGUMENT_REGISTERS, FLAT_32, RegisterPlan
from bt.codegen.builder import Module
from bt.codegen.llvm import assemble
from bt.codegen.objectfile import read_object
from bt.engine.translator.gates.gates import emit_gates, raw_gates
from bt.engine.translator.gates.signatures import FLAT_32_GATES, Gates
from bt.engine.translator.stencils.context import StencilContext
from bt.engine.translator.stencils.raw import raw_pieces
from bt.x86.capstone_layout import Handle

# What the arguments are, the other way round.
OTHER = RegisterPlan(FLAT_32.roles[::-1], FLAT_32.guest, suffix="_other")
_WIDE = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
_NAMES = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", *(f"r{n}d" for n in range(8, 16)))


def _text(code: bytes) -> list[str]:
    with Handle(64) as handle:
        lines = list(handle.disassemble(code))
    assert sum(len(line.code) for line in lines) == len(code)
    return [line.text for line in lines]


@pytest.mark.parametrize("number", range(16))
def test_host_instructions_of_every_register(number: int) -> None:
    name, wide = _NAMES[number], _WIDE[number]
    assert _text(host_bytes.jump_register(number)) == [f"jmp {wide}"]
    assert _text(host_bytes.test(number)) == [f"test {name}, {name}"]
    assert _text(host_bytes.move(number, 9)) == [f"mov {name}, r9d"]
    assert _text(host_bytes.move(2, number)) == [f"mov edx, {name}"]
    assert _text(host_bytes.based(b"\x89", 14, number, 0x20, short=True)) == [f"mov dword ptr [{wide} + 0x20], r14d"]
    assert _text(host_bytes.based(b"\xd9", 5, number, -0x1000)) == [f"fldcw word ptr [{wide} - 0x1000]"]
    if number >= 8:
        code = host_bytes.move_immediate(number) + (0x1234).to_bytes(4, "little")
        assert len(code) == host_bytes.MOV_IMMEDIATE_BYTES
        assert _text(code) == [f"mov {name}, 0x1234"]
        expected = [f"mov {name}, eax", "lahf", "movzx ebx, ah", f"mov eax, {name}", f"mov {name}, ebx"]
        assert _text(host_bytes.flags_to(number)) == expected


@pytest.mark.parametrize("plan", [FLAT_32, OTHER], ids=["flat32", "other"])
def test_raw_stencils_name_the_registers_of_the_plan(plan: RegisterPlan) -> None:
    pieces = dict(raw_pieces(plan))
    t, ebx, esi = (_NAMES[plan.number(role)] for role in ("t", "ebx", "esi"))
    wide_ebx, wide_esi = _WIDE[plan.number("ebx")], _WIDE[plan.number("esi")]
    assert _text(pieces["ea_b3"].code) == [f"mov {t}, {ebx}"]
    assert _text(pieces["ea_bi236"].code) == [f"lea {t}, [{wide_ebx} + {wide_esi}*4]"]
    assert _text(pieces["move_mov_32_r32_6_i32"].code) == [f"mov {esi}, 0"]


@pytest.mark.parametrize("plan", [FLAT_32, OTHER], ids=["flat32", "other"])
def test_a_compiled_stencil_does(plan: RegisterPlan) -> None:
    module = Module("stencil")
    b = StencilContext(module, plan.signature("probe"), plan=plan)
    b.set_reg(3, b.reg(3) & b.reg(6))
    b.proceed()
    b.finish()
    code = read_object(assemble(module.text())).functions["probe"].code
    ebx, esi = (plan.register(role) for role in ("ebx", "esi"))
    assert _text(code)[0] == f"and {ebx}, {esi}"


def test_gates_of_two_plans_live_in_one_module() -> None:
    module = Module("gates")
    emit_gates(module, FLAT_32_GATES)
    emit_gates(module, Gates(OTHER))
    assert {"chain_gate", "chain_gate_other", "slow_gate", "slow_gate_other"} <= module.defined.keys()
    functions = read_object(assemble(module.text())).functions
    state = "r11"  # the second argument from the end
    assert OTHER.register("state") == state
    assert ARGUMENT_REGISTERS[-2] == state
    assert any(f"[{state}" in line for line in _text(functions["slow_gate_other"].code))
    jump = raw_gates(Gates(OTHER))["jump_free_other"].code
    assert _text(jump) == ["jmp rax"]
    assert _text(FLAT_32_GATES.jump_free_code) == ["jmp r12"]
