"""One file of vectors at a time through an engine, with what differs on a 286 taken into account."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bt.engine.library.library import Library
from tests.engines import factories
from tests.vectors.differences import adapted, rule_for
from tests.vectors.runner import Prepared, VectorRunner, prepare
from tests.vectors.vectors import load, undefined_flags


@dataclass
class Batch:
    """The vectors of one opcode, ready to run."""

    opcode: str
    ready: list[Prepared] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)  # by the key of the rule
    masked: Counter[str] = field(default_factory=Counter)  # of `ready`, compared in part: by the key of the rule

    @property
    def tests(self) -> int:
        return len(self.ready) + self.skipped.total()

    @property
    def undefined_flags(self) -> int:
        return undefined_flags(self.opcode)


def read_batch(opcode: str, limit: int | None = None) -> Batch:
    """The vectors of one file, at most `limit` of them."""
    batch = Batch(opcode)
    for vector in load(opcode, limit):
        rule = rule_for(vector)
        if rule is None:
            batch.ready.append(prepare(vector))
        elif rule.skip:
            batch.skipped[rule.key] += 1
        else:
            batch.masked[rule.key] += 1
            batch.ready.append(prepare(adapted(vector, rule)))
    return batch


def make_runner(engine: str, library: Library) -> VectorRunner:
    """A runner on the engine of this name."""
    return VectorRunner(factories(unpaged=False)[engine], library)
