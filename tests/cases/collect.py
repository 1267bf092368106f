"""Makes pytest items of case files: one a line and executor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bt.errors import BtError
from tests.cases.check import differences, expected_outcome
from tests.cases.executors import ORACLE, Executors
from tests.cases.instruction import beyond_the_processor
from tests.cases.model import Case, Executor
from tests.cases.parse import parse_file
from tests.cases.undefined import undefined_flags

EXECUTORS = pytest.StashKey[Executors]()


def executors(config: pytest.Config) -> Executors:
    """The session's executors."""
    if EXECUTORS not in config.stash:
        config.stash[EXECUTORS] = Executors.of_session()
    return config.stash[EXECUTORS]


class CaseFile(pytest.File):
    """A `.case` file."""

    def collect(self) -> Iterable[pytest.Item]:
        """One item a line for every engine, and for the host CPU unless only the latter has the instructions."""
        names = [ORACLE, *executors(self.config).engines]
        try:
            cases = list(parse_file(Path(self.path), undefined_flags))
        except BtError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            title = " ".join(case.text.split())
            beyond = beyond_the_processor(case)
            for name in names:
                if name == ORACLE and beyond:
                    continue
                yield CaseItem.from_parent(
                    self, name=f"{case.where.rpartition(':')[2]} {title} [{name}]", case=case, executor=name
                )


class CaseItem(pytest.Item):
    """One line of a case file on one executor."""

    def __init__(self, *, case: Case, executor: str, **rest: Any) -> None:
        super().__init__(**rest)
        self.case = case
        self.executor = executor

    def runtest(self) -> None:
        """Run the case and compare everything it says, and that nothing else changed."""
        available = executors(self.config)
        if self.executor != ORACLE:
            engine: Executor = available.engines[self.executor]
        elif available.oracle is None:
            pytest.skip(f"no host CPU oracle: {available.oracle_missing}")
        else:
            engine = available.oracle
        if self.case.expected is None:
            pytest.fail("not recorded yet: run python -m tests.cases.record", pytrace=False)
        found = differences(self.case, expected_outcome(self.case), engine.run(self.case))
        if found:
            report = [f"{self.case.where}: {self.case}", *(f"    {line}" for line in found)]
            pytest.fail("\n".join(report), pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the line is, for pytest's report."""
        return self.path, int(self.case.where.rpartition(":")[2]) - 1, self.name
