"""Random bytes as guest code: no crash, no hang, no unknown exit, and the same final state in every engine."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.engines import factories
from tests.robustness.random_bytes import SETTINGS

EVERYDAY_SEEDS, EVERYDAY_INSTRUCTIONS = 3, 1500
SLOW_SEEDS, SLOW_INSTRUCTIONS = 100, 2000
"""Up to a million instructions in all settings together."""
TIMEOUT_SECONDS = 300


def _outcomes(engine: str, setting: str, first: int, last: int, instructions: int) -> list[dict[str, Any]]:
    """What the program says of each seed; fails the test if it ends in any way but its own."""
    command = [sys.executable, "-m", "tests.robustness.random_bytes", engine, setting]
    command += [str(number) for number in (first, last, instructions)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        pytest.fail(f"hangs: {said.splitlines()[-1:]}", pytrace=False)
    lines = done.stdout.splitlines()
    if done.returncode:
        last_words = "\n".join(done.stderr.splitlines()[-3:])
        pytest.fail(f"ends with status {done.returncode} after {lines[-1:]}\n{last_words}", pytrace=False)
    return [json.loads(line) for line in lines if not line.startswith("#")]


def _compare(setting: str, first: int, last: int, instructions: int) -> None:
    outcomes = {engine: _outcomes(engine, setting, first, last, instructions) for engine in factories()}
    reference, *others = outcomes
    for other in others:
        for want, have in zip(outcomes[reference], outcomes[other], strict=True):
            changed = {key: (want[key], have[key]) for key in want if want[key] != have[key]}
            assert not changed, f"seed {want['seed']}: {reference} and {other} differ: {changed}"
    assert len(outcomes[reference]) == last - first


@pytest.mark.parametrize("setting", SETTINGS)
def test_random_bytes(setting: str) -> None:
    """A few seeds in every setting."""
    _compare(setting, 0, EVERYDAY_SEEDS, EVERYDAY_INSTRUCTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_random_bytes_for_long(setting: str) -> None:
    """Many more."""
    _compare(setting, EVERYDAY_SEEDS, EVERYDAY_SEEDS + SLOW_SEEDS, SLOW_INSTRUCTIONS)
