"""Running a guest with stops on the way, to see what it is like there."""

from __future__ import annotations

from collections.abc import Callable

from bt.machine import Machine
from bt.machine.result import Result


def stops(made: Machine, step: int, look: Callable[[Result], tuple[object, ...]]) -> list[tuple[object, ...]]:
    """What `look` sees after each `step` instructions and at the end."""
    seen = []
    while True:
        result = made.run(max_insns=step)
        seen.append(look(result))
        if result.reason != "max-insns":
            return seen
