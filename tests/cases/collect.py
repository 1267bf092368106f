"""Makes pytest items of case files: one a line, which all executors run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bt.errors import BtError
from tests.cases.check import differences, expected_outcome
from tests.cases.executors import ORACLE, Executors
from tests.cases.instruction import beyond_the_processor
from tests.cases.model import Case, Executor, ExecutorError, Outcome
from tests.cases.parse import parse_file
from tests.cases.undefined import undefined_flags
from tests.oracles.host_cpu import HostCpu
from tests.oracles.latitude import is_free, is_intel_s

EXECUTORS = pytest.StashKey[Executors]()


def executors(config: pytest.Config) -> Executors:
    """The session's executors."""
    if EXECUTORS not in config.stash:
        config.stash[EXECUTORS] = Executors.of_session()
    return config.stash[EXECUTORS]


class CaseFile(pytest.File):
    """A `.case` file."""

    def collect(self) -> Iterable[pytest.Item]:
        """One item a line: an item an executor would be 8,000 more, of which each costs 5 ms whatever it does."""
        try:
            cases = list(parse_file(Path(self.path), undefined_flags))
        except BtError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            title = " ".join(case.text.split())
            yield CaseItem.from_parent(self, name=f"{case.where.rpartition(':')[2]} {title}", case=case)


class CaseItem(pytest.Item):
    """One line of a case file on every engine, and on the host CPU unless that lacks the instructions."""

    def __init__(self, *, case: Case, **rest: Any) -> None:
        super().__init__(**rest)
        self.case = case

    def runtest(self) -> None:
        """Run the case and compare everything it says, and that nothing else changed."""
        available = executors(self.config)
        if self.case.expected is None:
            pytest.fail("not recorded yet: run python -m tests.cases.record", pytrace=False)
        expected = expected_outcome(self.case)
        report = []
        # without a host that can, the head of the run says so
        for name, executor in (self._oracle(available) | dict(available.engines)).items():
            report += [f"    {name}: {line}" for line in self._found(executor, expected)]
        if report:
            pytest.fail("\n".join([f"{self.case.where}: {self.case}", *report]), pytrace=False)

    def _oracle(self, available: Executors) -> dict[str, Executor]:
        like_amd = HostCpu.unlike() is None
        free = is_intel_s(self.case) if like_amd else is_free(self.case)
        if available.oracle is None or beyond_the_processor(self.case) or free:
            return {}
        return {ORACLE: available.oracle}

    def _found(self, executor: Executor, expected: Outcome) -> list[str]:
        try:
            return differences(self.case, expected, executor.run(self.case))
        except ExecutorError as error:
            return [str(error)]

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the line is, for pytest's report."""
        return self.path, int(self.case.where.rpartition(":")[2]) - 1, self.name
