"""The case files on the semantics alone: tells a wrong meaning from a wrong engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cases.check import differences, expected_outcome
from tests.cases.instruction import beyond_the_processor
from tests.cases.model import Case
from tests.cases.parse import parse_file
from tests.cases.undefined import undefined_flags
from tests.x86.semantics.executor import NotIntegerError, SemanticsExecutor

CASES = Path(__file__).parents[2] / "cases"
QUICK = ("control", "stack")
# These also ask for #AC, for segments that cannot be written, for how far the engine's decoder fetches.
BEYOND = ("alignment", "fp_alignment", "prefixes", "page_end")
# The executor makes 32-bit and 16-bit code alone.
FILES = [p for p in sorted(CASES.glob("*.case")) if p.stem not in BEYOND and not p.stem.startswith("long")]


@pytest.fixture(scope="module", params=[True, False], ids=["directly", "element by element"])
def executor(request: pytest.FixtureRequest) -> SemanticsExecutor:
    return SemanticsExecutor(directly=request.param)


def _failures(executor: SemanticsExecutor, cases: list[Case]) -> Iterator[str]:
    for case in cases:
        if beyond_the_processor(case):
            continue
        try:
            outcome = executor.run(case)
        except NotIntegerError:
            continue
        if found := differences(case, expected_outcome(case), outcome):
            yield "\n    ".join([f"{case.where}: {case}", *found])


def test_string_instructions(executor: SemanticsExecutor) -> None:
    cases = list(parse_file(CASES / "string.case", undefined_flags))
    assert cases
    assert not list(_failures(executor, cases))


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=() if p.stem in QUICK else pytest.mark.slow) for p in FILES],
    ids=lambda path: str(path.stem),
)
def test_case_file(path: Path) -> None:
    """The rest are slow: each of some thousand instructions is compiled by itself."""
    cases = list(parse_file(path, undefined_flags))
    assert cases
    assert not list(_failures(SemanticsExecutor(directly=True), cases))
