"""What is measured: guests with options, and how much of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import guest_images
from bt.bench.process import MeasurementFailed, Outcome
from bt.errors import BadUsage

MEASURED_KINDS = ("compute", "fp", "compute64", "nano")
# Besides the catalogue with its defaults: a working set larger than any cache but the last, and the fast system call.
VARIANTS = ("sieve:size=16777216", "nano-syscall:via=sysenter")
SMALLEST_N = {"switch": 1}  # the others do nothing at all when told n=0
SUCCESS = 1  # isa-debug-exit: guest's 0, times two, plus one


@dataclass(frozen=True)
class Workload:
    """A guest and its options except n, written `guest:name=value,name=value`."""

    label: str

    @cached_property
    def image(self) -> guest_images.Image:
        return guest_images.image(self.label.partition(":")[0])

    @property
    def smallest_n(self) -> int:
        """The n of an empty run."""
        return SMALLEST_N.get(self.image.name, 0)

    @property
    def default_n(self) -> int:
        return int(self.image.parameters["n"])

    def append(self, n: int) -> str:
        """The guest's command line."""
        return " ".join([f"n={n}", *filter(None, self.label.partition(":")[2].split(","))])


def select(names: Sequence[str]) -> list[Workload]:
    """The workloads of these labels, or all there are. BadUsage for one that cannot be measured."""
    if not names:
        standard = [image.name for image in guest_images.images() if image.kind in MEASURED_KINDS]
        labels = sorted([*standard, *VARIANTS], key=lambda label: standard.index(label.partition(":")[0]))
        return [Workload(label) for label in labels]
    chosen = [Workload(name) for name in names]
    for workload in chosen:
        image = workload.image  # BadImage if there is no such guest
        if image.kind not in MEASURED_KINDS:
            raise BadUsage(f"{image.name}: a guest of kind {image.kind} measures nothing; `bt images` shows the kinds")
        for option in filter(None, workload.label.partition(":")[2].split(",")):
            name, equals, _ = option.partition("=")
            if name == "n" or not equals or name not in image.parameters:
                known = [each for each in image.parameters if each != "n"]
                raise BadUsage(f"{workload.label}: {image.name} has no option {option!r}, but {known or 'none'}")
    return chosen


@dataclass(frozen=True)
class Answer:
    """What a guest says it did."""

    result: str
    ops: int


def answer(contender: str, workload: Workload, outcome: Outcome) -> Answer:
    """Read the guest's answer. MeasurementFailed if it did not come to its end."""
    match = re.search(r"^result=([0-9a-f]{8})\r?\nops=(\d+)\r?$", outcome.output, re.MULTILINE)
    if match is None or outcome.status != SUCCESS:
        said = (outcome.errors or outcome.output).strip().splitlines()
        raise MeasurementFailed(
            f"{workload.label} under {contender}: ended with status {outcome.status}: {said[-1] if said else 'silent'}"
        )
    return Answer(match[1], int(match[2]))
