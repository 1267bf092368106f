"""Tier 2 does what the interpreter does, instruction by instruction: the case files and random programs, unpaged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bt.engine.identity import tier
from bt.engine.identity.making.undefined_flags import HostFlags
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from bt.x86.opcodes import FORMS
from tests.cases.check import differences
from tests.cases.model import Case, ExecutorError, Outcome
from tests.cases.parse import parse_file
from tests.cases.undefined import undefined_flags
from tests.engines import EngineExecutor
from tests.everyday import everyday
from tests.oracles import random_code, random_flags

CASES = Path(__file__).parents[2] / "cases"
FILES = sorted(path.name for path in CASES.glob("*.case"))
RANDOM = {"integer": random_code.generate, "flags": random_flags.generate}
SEED, EVERYDAY_PROGRAMS, SLOW_PROGRAMS = 11, 60, 200
PARTS = 6  # of a file's cases, of which the everyday run does one


@pytest.fixture(scope="module")
def interpreter() -> Iterator[EngineExecutor]:
    executor = EngineExecutor(Vcpu, paged=False)
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def tier_2() -> Iterator[EngineExecutor]:
    executor = EngineExecutor(partial(TranslatingVcpu, tier="2"), paged=False)
    yield executor
    executor.close()


EVERY_MEANING = frozenset(form.meaning for form in FORMS if form.undefines)
OTHER_HOSTS = {
    "all are repaired": HostFlags(EVERY_MEANING),
    "none can be": HostFlags(EVERY_MEANING, EVERY_MEANING),
}


@pytest.fixture(params=OTHER_HOSTS)
def another_host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineExecutor]:
    """Tier 2 as on a processor that leaves undefined flags otherwise."""
    monkeypatch.setattr(tier, "ask_host", lambda write: OTHER_HOSTS[request.param])
    executor = EngineExecutor(partial(TranslatingVcpu, tier="2"), paged=False)
    yield executor
    executor.close()


def outcome(executor: EngineExecutor, case: Case) -> Outcome | str:
    try:
        return executor.run(case)
    except ExecutorError as error:
        return str(error).rpartition(" in engine ")[0]


def differing(cases: list[Case], interpreter: EngineExecutor, tier_2: EngineExecutor) -> list[str]:
    """What is not the same in the first run and in the second, which finds units where the first made them."""
    found = []
    for case in cases:
        for _ in range(2):
            wanted = outcome(interpreter, case)
            got = outcome(tier_2, case)
            if isinstance(wanted, str) or isinstance(got, str):
                what = [] if wanted == got else [f"{wanted} / {got}"]
            else:
                what = differences(case, wanted, got)
            if what:
                found.append("\n    ".join([str(case), *what]))
                break
    return found


@pytest.mark.parametrize("part", everyday(range(PARTS), {0}))
@pytest.mark.parametrize("name", FILES)
def test_case_files(name: str, part: int, interpreter: EngineExecutor, tier_2: EngineExecutor) -> None:
    cases = list(parse_file(CASES / name, undefined_flags))[part::PARTS]
    found = differing(cases, interpreter, tier_2)
    assert not found, f"{len(found)} of {len(cases)} differ, e.g.\n" + "\n".join(found[:5])


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("count", everyday((EVERYDAY_PROGRAMS, SLOW_PROGRAMS), {EVERYDAY_PROGRAMS}))
def test_random_programs(kind: str, count: int, interpreter: EngineExecutor, tier_2: EngineExecutor) -> None:
    found, units = [], 0
    programs = RANDOM[kind](SEED, count)
    for program in programs:  # an executor whose guest has gone wild begins anew, its counters too
        before = tier_2.statistics()["units_made"]
        found += differing([program], interpreter, tier_2)
        units += max(tier_2.statistics()["units_made"] - before, 0)
    assert not found, f"{len(found)} of {count} differ, e.g.\n" + "\n".join(found[:5])
    assert units > count // 2


@pytest.mark.parametrize("part", everyday(range(PARTS), {0}))
def test_other_hosts(part: int, interpreter: EngineExecutor, another_host: EngineExecutor) -> None:
    found = differing(list(RANDOM["flags"](SEED, 50))[part::PARTS], interpreter, another_host)
    for name in ("arith.case", "shift.case"):
        found += differing(list(parse_file(CASES / name, undefined_flags))[part::PARTS], interpreter, another_host)
    assert not found, f"{len(found)} differ, e.g.\n" + "\n".join(found[:5])
