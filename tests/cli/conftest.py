"""Runs `bt` in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.cli.forked import forked

Bt = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def _library() -> None:
    """Compiled before any command is timed, or judged by what is on its stderr."""
    from bt.devices.native import NATIVE_DEVICES
    from bt.engine.library.library import load_library

    load_library().part(NATIVE_DEVICES)


@pytest.fixture
def bt() -> Bt:
    """`bt("run", "hello")` runs the command with nothing on its standard input."""

    def run(*arguments: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return forked().run("bt.cli.main", arguments, stdin, timeout)

    return run
