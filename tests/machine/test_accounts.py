"""What a run's time went to, as `--stats` and the report show it."""

from __future__ import annotations

from typing import Literal

import pytest

from bt.machine import Machine, MachineConfig
from guest_images import image


@pytest.mark.parametrize(("tier", "least", "most"), [("auto", 0.5, 1.0), ("1", 0.0, 0.0)])
def test_the_parts_are_the_whole(tier: Literal["auto", "1"], least: float, most: float) -> None:
    with Machine(MachineConfig(tier=tier)) as pc:
        pc.keep_accounts()
        pc.load(image("sieve").path, append="n=150")
        result = pc.run()
    parts = dict(result.time_account)
    assert sum(parts.values()) == pytest.approx(result.seconds)
    assert least <= parts["tier 2"] / result.seconds <= most
    assert parts["making units"] > 0 if tier == "auto" else parts["making units"] == 0


def test_all_runs_are_in_it() -> None:
    with Machine(MachineConfig()) as pc:
        pc.keep_accounts()
        pc.load(image("sieve").path, append="n=150")
        first = pc.run(max_insns=200_000_000)
        second = pc.run()
    parts = dict(second.time_account)
    assert sum(parts.values()) == pytest.approx(first.seconds + second.seconds)
    assert parts["the rest, in Python"] > 0


def test_the_interpreter_tells_nothing_apart() -> None:
    with Machine(MachineConfig(engine="interp")) as pc:
        pc.keep_accounts()
        pc.load(image("hello").path)
        assert pc.run().time_account == ()
