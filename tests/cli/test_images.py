"""`bt images`, `bt` itself, and what a start may cost."""

from __future__ import annotations

import time

import guest_images
from bt import __version__
from bt.cli.main import COMMANDS
from guest_images import third_party
from tests.cli.conftest import Bt

# The promise is for a machine that is not busy with other tests: the best of several starts counts.
START_LIMIT_SECONDS = 0.5
STARTS = 7


def test_every_guest_is_listed(bt: Bt) -> None:
    done = bt("images")
    assert done.returncode == 0
    first_words = {line.split()[0] for line in done.stdout.splitlines() if line and not line.startswith(" ")}
    assert {*guest_images.names(), *third_party.manifest()} <= first_words


def test_help_lists_the_commands(bt: Bt) -> None:
    done = bt("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_every_command_has_help(bt: Bt) -> None:
    for name in COMMANDS:
        done = bt(name, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: bt {name}")


def test_no_command_is_bad_usage(bt: Bt) -> None:
    assert bt().returncode == 2


def test_version(bt: Bt) -> None:
    assert bt("--version").stdout == f"bt {__version__}\n"


def test_a_start_is_quick(bt: Bt) -> None:
    times = []
    for _ in range(STARTS):
        start = time.monotonic()
        bt("run", "hello")
        times.append(time.monotonic() - start)
    assert min(times) < START_LIMIT_SECONDS
