"""The end of a page: what is complete before a page that is not there executes, or is #UD; what is not is #PF there.

Every form of the table, under every prefix and with every shape of ModRM, is put so that it ends with its page, the
next one present or absent, and so that its last bytes are on that next page. The host CPU decides how each ends, both
engines are compared with it whole, and the Python decoder must ask for more bytes just where the host fetches them.

The host runs user code. Of privileged instructions it shows only whether there is #PF for a byte that is not there or
#GP (#UD for what is undefined) because all have been fetched. So it does where a processor later than ours does
something with an encoding that is undefined here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from bt.x86.decode import DecodeError, TruncatedInstruction, decode
from tests.cases.check import differences
from tests.cases.collect import executors
from tests.cases.model import Case, Executor, Outcome
from tests.engines import executors as engine_executors
from tests.oracles.host_cpu import HostCpu
from tests.oracles.page_end import ABSENT, MIDDLE, PRESENT, Encoded, Judged, instructions
from tests.oracles.test_random_code import SEED

EVERYDAY_SHARE = 0.02
INVALID, PAGE_FAULT = 6, 14
_BATCH = 512
"""Instructions at a time."""


@pytest.fixture
def host(request: pytest.FixtureRequest) -> HostCpu:
    return executors(request.config).judge()


def _asks_for_more(case: Case, outcome: Outcome) -> bool:
    """Whether the instruction at the case's start faults because a byte of its own is on the page that is not there."""
    trap, eip = outcome.trap, outcome.state.eip
    return trap is not None and trap.vector == PAGE_FAULT and trap.cr2 == ABSENT[case.bits] != eip == case.start.eip


def _decoder_asks_for_more(code: bytes, bits: int) -> bool:
    try:
        decode(code, bits=bits)
    except TruncatedInstruction:
        return True
    except DecodeError:
        pass
    return False


def _cases(encoded: Encoded) -> Iterator[Case]:
    """In the middle; whole before an absent page, with bytes missing there; whole before a present page, astride.

    The first one also shows whether the host has the instruction.
    """
    whole = len(encoded.code)
    yield encoded.at(MIDDLE[encoded.bits])
    for length in range(whole, 0 if encoded.unprefixed else max(0, whole - 2), -1):
        yield encoded.at(ABSENT[encoded.bits] - length, length)
    if encoded.bits == 32:
        for on_first in (whole, whole - 1):
            yield encoded.at(PRESENT - on_first)


def _is_later(encoded: Encoded, middle: Outcome) -> bool:
    """Whether the host executes what is undefined here."""
    return encoded.undefined and (middle.trap is None or middle.trap.vector != INVALID)


def _differences(judged: Judged, case: Case, wanted: Outcome, got: Outcome) -> list[str]:
    match judged:
        case Judged.FETCH:
            same = _asks_for_more(case, wanted) == _asks_for_more(case, got)
            return [] if same else [f"wanted {wanted.trap}, got {got.trap}"]
        case Judged.END:
            wanted = replace(wanted, state=replace(got.state, eip=wanted.state.eip))
    return differences(case, wanted, got)


def _findings(host: HostCpu, engines: dict[str, Executor], chosen: Iterable[Encoded]) -> Iterator[str]:
    """What differs, one text each."""
    rest = iter(chosen)
    while batch := list(islice(rest, _BATCH)):
        work = [(encoded, case) for encoded in batch for case in _cases(encoded)]
        outcomes = host.run_many(case for _, case in work)
        later = {
            e
            for (e, case), outcome in zip(work, outcomes, strict=True)
            if case.start.eip == MIDDLE[e.bits] and _is_later(e, outcome)
        }
        for (encoded, case), wanted in zip(work, outcomes, strict=True):
            code = case.start.memory[case.start.eip]
            before_absent = case.start.eip + len(code) == ABSENT[case.bits]
            if before_absent and _decoder_asks_for_more(code, case.bits) != _asks_for_more(case, wanted):
                yield f"decoder: {case}: the processor {wanted.trap} at {wanted.state.eip:x}"
            for name, engine in engines.items():
                judged = Judged.FETCH if encoded in later else encoded.judged
                found = _differences(judged, case, wanted, engine.run(case))
                if found:
                    yield f"{name}: {case}: {'; '.join(found)}"


def _compare(host: HostCpu, share: float) -> None:
    found = list(_findings(host, dict(engine_executors()), instructions(Random(SEED), share)))
    if found:
        pytest.fail(f"{len(found)} differ, e.g.\n" + "\n".join(found[:20]), pytrace=False)


def test_some_instructions(host: HostCpu) -> None:
    _compare(host, EVERYDAY_SHARE)


@pytest.mark.slow
def test_every_instruction(host: HostCpu) -> None:
    _compare(host, 1)
