"""`bt images`, `bt` itself, and what a start must not load."""

from __future__ import annotations

import subprocess
import sys

import guest_images
from bt import __version__
from bt.cli.main import COMMANDS
from guest_images import third_party
from tests.cli.conftest import Bt

HEAVY = {
    "llvmlite",
    "capstone",
    "keystone",
    "rich",
    "matplotlib",
    "PIL",
    "socket",
    "bt.console",
    "multiprocessing",
    "bt.engine.library.build",
    "bt.x86.semantics",
}


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


def test_a_warm_start_loads_nothing_heavy() -> None:
    """What it costs in seconds is measured by benchmarks/startup.py; here, that nobody added a slow import."""
    program = (
        "import sys; from bt.cli.main import main; status = main(['run', 'hello', '--serial', 'null']); "
        f"print(status, sorted(set(sys.modules) & {HEAVY!r}))"
    )
    subprocess.run([sys.executable, "-m", "bt.cli.main", "run", "hello"], check=False, capture_output=True)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1 []\n"
