"""Collects `.case` files, says at the top of every run which executors they run on, and ends tests that hang."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.cases.collect import EXECUTORS, CaseFile, executors
from tests.promoting import HEATS, promote_at_once

# The same examples in every run: a new counterexample is for somebody who looks for one (--hypothesis-profile=explore),
# not for whoever happens to run the tests.
settings.register_profile("everyday", derandomize=True, deadline=None)  # a busy machine is no defect
settings.register_profile("explore", deadline=None)
settings.load_profile("everyday")

# Programs that tests start compile bt's modules once, not each for itself: that is two thirds of a second a start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The first test of a run may have to build the library, beside other processes.
EVERYDAY_SECONDS, SLOW_SECONDS = 300, 1500
_STDERR = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long a test may take, setup and teardown included."""
    parser.addini("everyday_seconds", "the process ends when a test takes longer", default=str(EVERYDAY_SECONDS))
    parser.addini("slow_seconds", "the same for tests marked slow", default=str(SLOW_SECONDS))
    parser.addoption(
        "--promote",
        nargs="?",
        choices=list(HEATS),
        const="blocks",
        help="have units of tier 2 at once: of every block, or of the path from every place that is come back to",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr: during a test its descriptor is a file of pytest's."""
    config.stash[_STDERR] = os.dup((sys.__stderr__ or sys.stderr).fileno())
    if what := config.getoption("--promote"):
        promote_at_once(what)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process when a test comes to its limit, with tracebacks that say where it is.

    Nothing gentler ends a loop in native code: a signal handler of Python's would wait for it to return. Without
    pytest-xdist the run is over then; with it the test has failed ("worker crashed while running") and the run goes on.
    """
    limit = item.config.getini("slow_seconds" if item.get_closest_marker("slow") else "everyday_seconds")
    faulthandler.dump_traceback_later(float(limit), exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take `.case` files, leave others to pytest."""
    return CaseFile.from_parent(parent, path=file_path) if file_path.suffix == ".case" else None


def pytest_collection_finish() -> None:
    """The tests themselves are a million objects, which the collector need not look through each time."""
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    """One line with the executors, so that a missing one is seen."""
    available = executors(config)
    oracle = f"no host CPU ({available.oracle_missing})" if available.oracle_missing else "host CPU"
    engines = ", ".join(available.engines) or "NONE (no tests/engines.py)"
    return f"cases run on: {oracle}; engines: {engines}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give back the oracle's process, and the descriptor."""
    os.close(config.stash[_STDERR])
    if EXECUTORS in config.stash:
        config.stash[EXECUTORS].close()
