"""bt's engines against the host CPU on random instruction sequences."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from tests.cases import layout
from tests.cases.check import differences
from tests.cases.collect import executors
from tests.cases.model import Case, Executor, ExecutorError, Outcome
from tests.oracles import random_code, random_flags, random_fp
from tests.oracles.host_cpu import HostCpu
from tests.oracles.latitude import comparable

EVERYDAY_CASES = 400
SLOW_CASES = 20_000
CHUNK = 250
"""Cases compared at a time: outcomes hold whole memory images."""
SHOWN = 5

GENERATORS: Mapping[str, Callable[[int, int], list[Case]]] = {
    "integer": random_code.generate,
    "fp": random_fp.generate,
    "flags": random_flags.generate,
}

SEED = int(os.environ.get("BT_SEED", "1"))
"""Another seed gives other programs; a failure names its case's own."""


def _host(config: pytest.Config, kind: str) -> HostCpu:
    available = executors(config)
    return available.judge() if kind == "integer" else available.host()  # undefined flags go on from there


def _mismatches(cases: list[Case], wanted: list[Outcome], executor: Executor) -> list[str]:
    """A report of each case whose outcome differs, or that the executor cannot bring to an end."""
    reports = []
    for case, want in zip(cases, wanted, strict=True):
        compared = comparable(case, want)
        if compared is None:
            continue
        try:
            found = differences(compared, want, executor.run(case))
        except ExecutorError as error:
            found = [str(error)]
        if found:
            reports.append("\n    ".join([str(case), *found]))
    return reports


def _compare(engine: Executor, host: HostCpu, kind: str, seed: int, count: int) -> None:
    reports: list[str] = []
    for number, start in enumerate(range(0, count, CHUNK)):
        cases = GENERATORS[kind](seed * 1_000_000 + number, min(CHUNK, count - start))
        reports += _mismatches(cases, host.run_many(cases), engine)
    if reports:
        pytest.fail(f"{len(reports)} of {count} programs differ, e.g.\n" + "\n".join(reports[:SHOWN]), pytrace=False)


def test_there_are_engines(request: pytest.FixtureRequest) -> None:
    """Without engines the tests below, and the case files, would compare nothing."""
    assert executors(request.config).engines, "tests/engines.py gives no engines: nothing is compared with the host CPU"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each engine and kind of programs there is."""
    if "engine_name" in metafunc.fixturenames:
        metafunc.parametrize("engine_name", list(executors(metafunc.config).engines))
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", GENERATORS)


def test_engine_agrees_with_the_host(request: pytest.FixtureRequest, engine_name: str, kind: str) -> None:
    """Registers, flags, memory and exceptions after random programs are those of the host CPU.

    Programs of FP instructions store x87, MMX and XMM registers, so that these are compared with the memory.
    """
    engine = executors(request.config).engines[engine_name]
    _compare(engine, _host(request.config, kind), kind, SEED, EVERYDAY_CASES)


def test_fp_pointers_are_the_guests(request: pytest.FixtureRequest) -> None:
    """The host cannot judge FIP, FCS, FDP and FDS of random programs, for it has its own; the engines agree on them."""
    engines = executors(request.config).engines.values()
    cases = random_fp.generate(SEED, EVERYDAY_CASES)
    complete = 0
    for case in cases:
        outcomes = [engine.run(case) for engine in engines]
        exact = replace(case, ignored_memory=())
        assert not [found for outcome in outcomes for found in differences(exact, outcomes[0], outcome)], str(case)
        if outcomes[0].trap is None:
            complete += 1
            ip, cs, dp, ds = random_fp.stored_pointers(outcomes[0])
            assert (ip, cs) == (0, 0) or (case.origin <= ip < case.end and cs == layout.CODE_SELECTOR), str(case)
            assert (dp, ds) == (0, 0) or (dp in layout.DATA and ds == layout.DATA_SELECTOR), str(case)
    assert complete > EVERYDAY_CASES // 2


@pytest.mark.slow
def test_engine_agrees_with_the_host_for_long(request: pytest.FixtureRequest, engine_name: str, kind: str) -> None:
    """The same on many more programs."""
    engine = executors(request.config).engines[engine_name]
    _compare(engine, _host(request.config, kind), kind, SEED + 1, SLOW_CASES)


def test_host_agrees_with_itself(request: pytest.FixtureRequest, kind: str) -> None:
    """The oracle is deterministic, so that a difference means something; and most programs run to their end."""
    host = _host(request.config, kind)
    cases = GENERATORS[kind](SEED, EVERYDAY_CASES)
    outcomes = host.run_many(cases)
    assert not _mismatches(cases, outcomes, host)
    complete = sum(outcome.trap is None for outcome in outcomes)
    assert complete > EVERYDAY_CASES // 2


def test_generator_is_deterministic(kind: str) -> None:
    """A seed names a program for good."""
    generate = GENERATORS[kind]
    assert generate(5, 40) == generate(5, 40)
    assert [case.code for case in generate(5, 40)] != [case.code for case in generate(6, 40)]
