"""Units of 64-bit code do what the interpreter does."""

from __future__ import annotations

from functools import partial

import pytest

from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from tests.cases.check import differences
from tests.engine.identity.long_sequences import FloatingSequences, Sequences
from tests.engines import EngineExecutor, EngineFactory

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
