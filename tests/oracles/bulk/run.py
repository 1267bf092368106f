"""Runs programs and single cases on the host and on engines, and counts what came of it by family."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bt.x86.opcodes import Form
from tests.cases.check import differences
from tests.cases.model import REGISTERS, Case, Executor, ExecutorError, Outcome
from tests.engines import EngineExecutor
from tests.oracles.bulk import faults
from tests.oracles.bulk.compare import Verdict, compare
from tests.oracles.bulk.coverage import family
from tests.oracles.bulk.program import Maker, Program
from tests.oracles.host_child import SLOTS
from tests.oracles.latitude import comparable, settled

_T = TypeVar("_T")
FAULTS = "faults"
"""The row of the single cases."""
_RECORDS = 128
"""Of each form in a round, in several programs where one does not hold as many: other encodings for other records."""
_ROUNDS_A_POOL = 8
"""After so many rounds over the forms, values come from new pools."""
_OF_THE_LOOP = frozenset(("fxrstor", "fxsave", "mov", "movs", "popa", "popf", "pusha"))
"""Mnemonics of the programs themselves: whether others of that name were translated cannot be told."""
SHOWN = 5
"""Reports kept of each form and engine."""


@dataclass
class Row:
    """One family on one engine; all but `forms` are numbers of cases."""

    forms: set[int] = field(default_factory=set)
    cases: int = 0
    compared: int = 0
    masked: int = 0  # compared, but for flags or bits that the instruction leaves undefined
    free: int = 0  # of those, where engine and host differ in them
    translated: int = 0  # at least so many ran in translated code
    differing: int = 0

    def add(self, other: Verdict | Row) -> None:
        """Count one program or case, or a whole row."""
        self.cases += other.cases
        self.compared += other.compared
        self.masked += other.masked
        self.free += other.free
        self.translated += other.translated
        self.differing += other.differing


@dataclass
class Tally:
    """Rows by engine and family, and what was reported."""

    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Row)))
    reports: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, engine: str, row: str, form: Form, verdict: Verdict) -> None:
        """Count, and keep the first reports of each form."""
        self.rows[engine][row].forms.add(form.id)
        self.rows[engine][row].add(verdict)
        if verdict.reports:
            kept = self.reports[engine, repr(form)]
            kept += verdict.reports[: SHOWN - len(kept)]

    def cases(self, engine: str) -> int:
        """Cases run on an engine."""
        return sum(row.cases for row in self.rows[engine].values())

    def differing(self) -> int:
        """Cases that differ, on all engines."""
        return sum(row.differing for rows in self.rows.values() for row in rows.values())


class Bulk:
    """The comparison: one oracle, some engines, one tally."""

    def __init__(self, oracle: Executor, engines: Mapping[str, EngineExecutor]) -> None:
        self._oracle = oracle
        self._engines = engines
        self.tally = Tally()

    def run(self, seed: int, wanted: Sequence[Form], cases: int) -> None:
        """Run rounds over the forms until there were so many cases on each engine."""
        first = next(iter(self._engines))
        records = min(_RECORDS, -(-cases // len(wanted)))
        for number in itertools.count():
            if number % _ROUNDS_A_POOL == 0:
                maker = Maker(f"{seed}.{number}")
            self._run_programs(program for form in wanted for program in _programs(maker, form, records))
            if self.tally.cases(first) >= cases:
                return

    def run_faults(self, seed: int, wanted: Sequence[Form], rounds: int) -> None:
        """Run the single cases of these forms."""
        chosen = set(wanted)
        for some in _groups(pair for pair in faults.cases(seed, rounds) if pair[0] in chosen):
            outcomes = self._oracle.run_many(case for _, case in some)
            for (form, case), outcome in zip(some, outcomes, strict=True):
                for name, engine in self._engines.items():
                    self.tally.add(name, FAULTS, form, _run_single(engine, case, outcome))

    def _run_programs(self, programs: Iterable[Program]) -> None:
        for some in _groups(programs):
            outcomes = self._oracle.run_many(program.case for program in some)
            for program, outcome in zip(some, outcomes, strict=True):
                form = program.variant.form
                for name, engine in self._engines.items():
                    self.tally.add(name, family(form), form, _run_program(engine, program, outcome))


def _programs(maker: Maker, form: Form, records: int) -> Iterator[Program]:
    """Programs with so many records in all."""
    while records > 0:
        program = maker.program(form, records)
        records -= program.batch.count
        yield program


def _groups(items: Iterable[_T]) -> Iterator[list[_T]]:
    """As many at a time as the oracle takes."""
    iterator = iter(items)
    while some := list(itertools.islice(iterator, SLOTS)):
        yield some


def _run_program(engine: EngineExecutor, program: Program, wanted: Outcome) -> Verdict:
    name = program.variant.form.name
    callouts, units = engine.callouts()[name], engine.units
    try:
        found = engine.run(program.case)
    except ExecutorError as error:
        return Verdict(program.batch.count, differing=1, reports=[str(error)])
    verdict = compare(program, wanted, found)
    if engine.units > units and engine.callouts()[name] == callouts and name not in _OF_THE_LOOP:
        verdict.translated = verdict.cases
    return verdict


def _run_single(engine: EngineExecutor, case: Case, wanted: Outcome) -> Verdict:
    compared = comparable(case, wanted)
    if compared is None:
        return Verdict(1)
    try:
        found = differences(compared, settled(case, wanted), settled(case, engine.run(case)))
    except ExecutorError as error:
        found = [str(error)]
    masked = int(compared.ignored_flags != 0)
    report = "\n  ".join([_start(case), f"host: {wanted.trap or 'no exception'}", *found])
    return Verdict(1, compared=1, masked=masked, differing=bool(found), reports=[report] if found else [])


def _start(case: Case) -> str:
    registers = zip(REGISTERS, case.start.registers, strict=True)
    return f"{case} | {' '.join(f'{name}={value:08x}' for name, value in registers)}"
