"""Accesses that are constants apart: what is known of registers, and units whose neighbours lie in two pages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from bt.engine.identity.long.decoded import LongBlock, LongDecoded
from bt.engine.identity.long.floating import is_inline
from bt.engine.identity.long.integer import is_one_of_ours
from bt.engine.identity.long.neighbours import followed
from bt.engine.structures import BLOCK_BYTES
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from bt.x86.opcodes import Form
from guest_images.assembler import assemble
from tests.cases import layout
from tests.cases.model import EFLAGS_FIXED, LONG_CPU, Case, State
from tests.engines import EngineExecutor
from tests.oracles.long_code import Maker, forms

_MASK = (1 << 64) - 1


def _may_be_in_units(form: Form) -> bool:
    return is_inline(form) or is_one_of_ours(form) or form.meaning.startswith(("stack.", "control."))


def _instructions(vcpu: Vcpu, case: Case) -> Iterator[LongDecoded]:
    """Of the block that was made of a case, last first."""
    base = vcpu.control("blocks_base")
    for number in reversed(range(1, vcpu.control("blocks_next"))):
        block = LongBlock.at(base + number * BLOCK_BYTES)
        if block.eip == case.start.eip:
            yield from block.instructions()
            return


@pytest.mark.parametrize(("seed", "times"), [("everyday", 3), pytest.param("long", 40, marks=pytest.mark.slow)])
def test_what_is_known_of_registers_is_so(seed: str, times: int) -> None:
    """Behind every instruction a register is as far from where it was known to be as `followed` says."""
    maker, engine = Maker(seed), EngineExecutor(Vcpu)
    looked_at, report = 0, []
    for form in filter(_may_be_in_units, forms()):
        for _ in range(times):
            case = maker.case(form)
            after = engine.run(case)
            if after.trap is not None:
                continue
            (vcpu,) = engine._engines.values()
            for i in _instructions(vcpu, case):
                if i.its_form is not form:
                    continue
                looked_at += 1
                for number, (origin, moved) in enumerate(followed(i)):
                    if origin < 16 and after.state.registers[number] != case.start.registers[origin] + moved & _MASK:
                        report.append(f"{case.where} {case.text}: register {number}")
    engine.close()
    assert not report, "\n".join(report[:40])
    assert looked_at > 100 * times


def test_a_unit_whose_neighbours_lie_in_two_pages_is_made_anew() -> None:
    rounds = 20_000
    code = assemble(
        "next: mov rax, [rsi]\nadd rbx, [rsi + 8]\nadd rbx, rax\ndec rcx\njnz next\n", 64, layout.CODE.start
    )
    registers = [0] * 16
    registers[1], registers[4] = rounds, layout.STACK.start + 0x800
    registers[6] = layout.DATA.start + layout.PAGE_BYTES - 8
    memory = {layout.DATA.start + layout.PAGE_BYTES - 8: bytes(range(1, 17))}
    case = Case(code, State(tuple(registers), layout.CODE.start, EFLAGS_FIXED, memory), bits=64, cpu=LONG_CPU)
    interpreter, units = EngineExecutor(Vcpu), EngineExecutor(partial(TranslatingVcpu, tier="2"))
    assert interpreter.run(case).state == units.run(case).state
    (vcpu,) = units._engines.values()
    assert vcpu.control("unit_insns") > 4 * rounds, "the interpreter has done what units should"
    interpreter.close()
    units.close()
