"""The second oracle agrees with every recorded case, but for deviations that are known and named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.cases.check import differences, expected_outcome
from tests.cases.collect import executors
from tests.cases.executors import Executors
from tests.cases.instruction import beyond_the_processor
from tests.cases.model import Case, ExecutorError, Outcome
from tests.cases.parse import parse_file, parse_line
from tests.cases.undefined import undefined_flags
from tests.oracles import random_code
from tests.oracles.latitude import comparable
from tests.oracles.test_random_code import SEED, SHOWN
from tests.oracles.unicorn_cpu import UnicornCpu, aborts, deviation
from tests.oracles.unicorn_long import UnicornLong

EVERYDAY_SEQUENCES, SLOW_SEQUENCES = 1000, 10_000
ALL_CASE_FILES = sorted((Path(__file__).parents[1] / "cases").glob("*.case"))
LONG_CASE_FILES = [path for path in ALL_CASE_FILES if path.stem in ("long", "long_fp", "long_sse4")]  # of 64-bit code
CASE_FILES = [path for path in ALL_CASE_FILES if not path.stem.startswith("long")]
# What Unicorn gets wrong in 64-bit code
LONG_DEVIATIONS = {
    "hex: f3 49 90": "takes PAUSE with REX.B for XCHG",
    "pcmpeqd xmm12, xmm12; fxsave": "begins with other FP control words",
    "stmxcsr": "the same",
    "hex: 66 48 0f 3a 61": "takes PCMPESTRI with REX.W for the one without",
}


@pytest.fixture(scope="module")
def cpu() -> UnicornCpu:
    return UnicornCpu()


def _compare_sequences(cpu: UnicornCpu, available: Executors, seed: int, count: int) -> None:
    """Random sequences, 16-bit ones among them; most must be comparable.

    Where Unicorn alone stands against engine and host it is overruled: some of its defects show only now and then.
    """
    reports, compared, overruled = [], Counter[int](), 0
    for case in random_code.generate(seed, count):
        if aborts(case):
            continue
        found = {name: engine.run(case) for name, engine in available.engines.items()}
        wanted: Outcome | None = None
        for name, outcome in found.items():
            believed = comparable(case, outcome)
            if believed is None or deviation(case, outcome) is not None:
                continue
            wanted = wanted or cpu.run(case)
            if not (unlike := differences(believed, wanted, outcome)):
                continue
            if available.oracle is not None and not differences(believed, available.oracle.run(case), outcome):
                overruled += 1
            else:
                reports.append("\n    ".join([f"{name}: {case}", *unlike]))
        compared[case.bits] += wanted is not None
    assert not reports, "\n".join(reports[:SHOWN])
    assert overruled <= 2 + count // 1000
    assert compared.total() > count // 2
    assert compared[16] > count // 50


def test_engines_agree_on_random_sequences(cpu: UnicornCpu, request: pytest.FixtureRequest) -> None:
    """Integer code of 32 and 16 bits; FP is the host's own, which Unicorn only approximates."""
    _compare_sequences(cpu, executors(request.config), SEED, EVERYDAY_SEQUENCES)


@pytest.mark.slow
def test_engines_agree_on_many_sequences(cpu: UnicornCpu, request: pytest.FixtureRequest) -> None:
    """The same on many more."""
    _compare_sequences(cpu, executors(request.config), SEED + 1, SLOW_SEQUENCES)


@pytest.mark.parametrize("path", CASE_FILES, ids=lambda path: path.stem)
def test_agrees_with_what_the_host_recorded(cpu: UnicornCpu, path: Path) -> None:
    reports = []
    for case in parse_file(path, undefined_flags):
        expected = expected_outcome(case)
        if deviation(case, expected) is None and (found := differences(case, expected, cpu.run(case))):
            reports.append("\n    ".join([f"{case.where}: {case}", *found]))
    assert not reports, "\n".join(reports)


def test_agrees_in_64_bit_code() -> None:
    """On what ends without an exception, but for what is known and named."""
    cpu, reports, compared = UnicornLong(), [], 0
    for case in (case for path in LONG_CASE_FILES for case in parse_file(path, undefined_flags)):
        expected = expected_outcome(case)
        if expected.trap is None:
            compared += 1
            wrong = bool(found := differences(case, expected, cpu.run(case)))
            known = next((reason for code, reason in LONG_DEVIATIONS.items() if case.text.startswith(code)), None)
            if wrong is (known is None):
                reports.append("\n    ".join([f"{case.where}: {case}", *(found or ["is right"])]))
    assert not reports, "\n".join(reports)
    assert compared > 150


def test_every_deviation_is_real(cpu: UnicornCpu) -> None:
    """Each reason not to believe Unicorn has a case that it gets wrong, and few cases fall under any."""
    wrong: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    everything = [case for path in CASE_FILES for case in parse_file(path, undefined_flags)]
    cases = [case for case in everything if not beyond_the_processor(case)]
    for case in cases:
        expected = expected_outcome(case)
        reason = deviation(case, expected)
        if reason is None:
            continue
        reasons[reason] += 1
        wrong[reason] += aborts(case) or bool(differences(case, expected, cpu.run(case)))
    assert [reason for reason in reasons if not wrong[reason]] == []
    assert reasons.total() < len(cases) // 4


def test_refuses_what_would_abort_the_process(cpu: UnicornCpu) -> None:
    with pytest.raises(ExecutorError, match="abort"):
        cpu.run(parse_line("hex: f0 0f ab d8 | => ?"))


def test_a_case_that_does_not_end_is_an_error(cpu: UnicornCpu) -> None:
    with pytest.raises(ExecutorError, match="does not end"):
        cpu.run(Case(b"\xeb\xfe"))
