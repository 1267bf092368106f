"""Units of 64-bit code do what the interpreter does."""

from __future__ import annotations

from functools import partial

import pytest

from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from tests.cases.check import differences
from tests.engine.identity.long_sequences import FloatingSequences, Sequences
from tests.engines import EngineExecutor


@pytest.mark.parametrize("kind", [Sequences, FloatingSequences])
@pytest.mark.parametrize(("seed", "times"), [("everyday", 600), pytest.param("long", 10_000, marks=pytest.mark.slow)])
def test_random_sequences(kind: type[Sequences], seed: str, times: int) -> None:
    """Registers, all flags, memory and exceptions are those of the interpreter."""
    sequences = kind(seed)
    interpreter, units = EngineExecutor(Vcpu), EngineExecutor(partial(TranslatingVcpu, tier="2"))
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
