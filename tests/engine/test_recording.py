"""What is known of an instruction from running its meaning on a context that takes notes."""

from __future__ import annotations

from itertools import chain

import pytest

from bt.engine.interp.variants import Variant
from bt.engine.translator.plan.plan import Ending, Linear, Plan, Pre
from bt.engine.translator.plan.plans import build_plans
from bt.engine.translator.stencils.catalogue import Catalogue
from bt.x86.opcodes import FORMS


@pytest.fixture(scope="module")
def plans() -> dict[Variant, Plan]:
    return {plan.variant: plan for plan in build_plans(Catalogue())}


def _plan(plans: dict[Variant, Plan], encoding: str, *, memory: bool = False, size: int = 32) -> Plan | None:
    form = next(form for form in FORMS if form.encoding == encoding)
    return plans.get(Variant(form, size, memory))


@pytest.mark.parametrize(
    ("encoding", "memory", "access"),
    [
        ("01 /r", True, (Linear.T, 4, True)),  # add r/m, r
        ("00 /r", True, (Linear.T, 1, True)),
        ("03 /r", True, (Linear.T, 4, False)),  # add r, r/m
        ("39 /r", True, (Linear.T, 4, False)),  # cmp writes nothing
        ("87 /r", True, (Linear.T, 4, True)),  # xchg
        ("F7 /4", True, (Linear.T, 4, False)),  # mul reads its operand only
        ("8D /r", True, (Linear.NONE, 0, False)),  # lea accesses nothing
        ("01 /r", False, (Linear.NONE, 0, False)),
        ("0F B7 /r", True, (Linear.T, 2, False)),  # movzx
        ("50+r", False, (Linear.PUSH, 4, True)),
        ("58+r", False, (Linear.POP, 4, False)),
        ("9C", False, (Linear.PUSH, 4, True)),  # pushf
        ("C9", False, (Linear.FRAME, 4, False)),  # leave
        ("E8", False, (Linear.PUSH, 4, True)),  # call
        ("C3", False, (Linear.POP, 4, False)),  # ret
        ("FF /6", True, (Linear.PUSH, 4, True)),  # push: its operand is loaded by another stencil
    ],
)
def test_the_access_of_a_stencil(
    plans: dict[Variant, Plan], encoding: str, memory: bool, access: tuple[Linear, int, bool]
) -> None:
    plan = _plan(plans, encoding, memory=memory)
    assert plan is not None
    assert (plan.linear, plan.size, plan.write) == access


@pytest.mark.parametrize(
    ("encoding", "memory", "ending", "calls", "pre"),
    [
        ("EB", False, Ending.JUMP, False, Pre.NONE),
        ("E8", False, Ending.JUMP, True, Pre.NONE),
        ("FF /2", False, Ending.INDIRECT, True, Pre.GET_RM),
        ("FF /2", True, Ending.INDIRECT, True, Pre.LOAD),
        ("FF /4", True, Ending.INDIRECT, False, Pre.LOAD),
        ("C3", False, Ending.INDIRECT, False, Pre.NONE),
        ("E2", False, Ending.NEXT, False, Pre.NONE),  # loop goes on where it does not jump
        ("50+r", False, Ending.NEXT, False, Pre.NONE),
    ],
)
def test_how_an_instruction_ends(
    plans: dict[Variant, Plan], encoding: str, memory: bool, ending: Ending, calls: bool, pre: Pre
) -> None:
    plan = _plan(plans, encoding, memory=memory)
    assert plan is not None
    assert (plan.ending, plan.calls, plan.pre) == (ending, calls, pre)


@pytest.mark.parametrize(
    ("encoding", "kills", "by_count"),
    [
        ("01 /r", True, False),
        ("11 /r", True, False),  # adc reads CF, as its form says
        ("F7 /4", False, False),  # mul keeps what the manual calls undefined, and so do these
        ("F7 /6", False, False),
        ("0F AF /r", False, False),
        ("0F BC /r", True, False),
        ("FF /0", False, False),  # inc leaves CF alone
        ("C1 /4", False, True),  # shl by a constant
        ("C1 /0", False, False),  # rol changes two flags
        ("D3 /4", False, False),  # shl by CL
        ("89 /r", False, False),
    ],
)
def test_whose_flags_are_dead(plans: dict[Variant, Plan], encoding: str, kills: bool, by_count: bool) -> None:
    plan = _plan(plans, encoding)
    assert plan is not None
    assert (plan.kills_flags, plan.kills_flags_by_count) == (kills, by_count)


@pytest.mark.parametrize(
    ("encoding", "memory", "size"),
    [
        ("8F /0", True, 32),  # pop: two accesses, the operand's second
        ("60", False, 32),  # pusha
        ("C8", False, 32),  # enter
        ("A4", False, 32),  # movs
        ("9D", False, 32),  # popf looks at everything afresh
        ("F4", False, 32),  # hlt leaves
        ("63 /r", False, 32),  # arpl is not there in every mode
        ("0F 0B", False, 32),  # ud2 never goes on
        ("50+r", False, 16),
        ("C3", False, 16),
    ],
)
def test_what_only_the_interpreter_does(plans: dict[Variant, Plan], encoding: str, memory: bool, size: int) -> None:
    assert _plan(plans, encoding, memory=memory, size=size) is None


def test_only_jumps_on_a_condition_fuse_with_a_comparison(plans: dict[Variant, Plan]) -> None:
    jumps = {plan.variant.form.name for plan in plans.values() if plan.is_conditional_jump}
    assert len(jumps) == 16
    assert all(name.startswith("j") for name in jumps)


def test_every_stencil_of_a_plan_is_in_the_catalogue() -> None:
    catalogue = Catalogue()
    for plan in build_plans(catalogue):
        for name in chain(plan.live, plan.dead, plan.fused, plan.absolute):
            assert name in catalogue.stencils or name in catalogue.raw
