"""Where a run is interrupted must not show: with any budget the guest does the same, instruction by instruction."""

from __future__ import annotations

import pytest

from tests.engines import factories
from tests.everyday import one_in
from tests.robustness.random_bytes import SETTINGS, Guest

EVERYDAY, SLOW, INSTRUCTIONS = range(1000, 1002), range(1002, 1006), 700
BUDGETS = (1, 3, INSTRUCTIONS)


@pytest.mark.parametrize(("seeds", "engine", "setting"), one_in(5, (EVERYDAY, SLOW), list(factories()), list(SETTINGS)))
def test_the_budget_does_not_show(engine: str, setting: str, seeds: range) -> None:
    """Exits, instructions, registers, system state and memory are the same for all budgets."""
    guest = Guest(engine, SETTINGS[setting])
    for seed in seeds:
        wanted, *others = (guest.run(f"{setting}.{seed}", INSTRUCTIONS, budget) for budget in BUDGETS)
        for budget, got in zip(BUDGETS[1:], others, strict=True):
            assert got == wanted, f"budget {budget} against {BUDGETS[0]}"
