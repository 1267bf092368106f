"""Collects `.case` files, and says at the top of every run which executors they run on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.cases.collect import EXECUTORS, CaseFile, executors

# The same examples in every run: a new counterexample is for somebody who looks for one (--hypothesis-profile=explore),
# not for whoever happens to run the tests.
settings.register_profile("everyday", derandomize=True, deadline=None)  # a busy machine is no defect
settings.register_profile("explore", deadline=None)
settings.load_profile("everyday")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take `.case` files, leave others to pytest."""
    return CaseFile.from_parent(parent, path=file_path) if file_path.suffix == ".case" else None


def pytest_report_header(config: pytest.Config) -> str:
    """One line with the executors, so that a missing one is seen."""
    available = executors(config)
    oracle = f"no host CPU ({available.oracle_missing})" if available.oracle_missing else "host CPU"
    engines = ", ".join(available.engines) or "NONE (no tests/engines.py)"
    return f"cases run on: {oracle}; engines: {engines}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give back the oracle's process."""
    if EXECUTORS in config.stash:
        config.stash[EXECUTORS].close()
