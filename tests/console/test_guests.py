"""Guests that other people made, on a real terminal: a countdown, a menu."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.terminals import Tmux, needs_tmux
from tests.guests.images import required

pytestmark = [needs_tmux, pytest.mark.slow]
MENU = """\
set timeout=5
menuentry "First" {
    true
}
menuentry "Second" {
    true
}
"""
SECONDS = 300.0


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    with Tmux(tmp_path) as started:
        yield started


@pytest.fixture
def grub(tmp_path: Path) -> str:
    """A CD with GRUB's menu and a countdown of five seconds."""
    if shutil.which("grub-mkrescue") is None or shutil.which("xorriso") is None:
        pytest.skip("grub-mkrescue is not installed: tests/install-debian.sh")
    required("bios-256k.bin")
    config = tmp_path / "disc" / "boot" / "grub" / "grub.cfg"
    config.parent.mkdir(parents=True)
    config.write_text(MENU)
    image = tmp_path / "grub.iso"
    subprocess.run(["grub-mkrescue", "-o", image, tmp_path / "disc"], check=True, capture_output=True)
    return str(image)


def test_a_countdown_of_five_seconds_lasts_five_seconds(terminal: Tmux, grub: str) -> None:
    terminal.bt("run", grub, "--display", "terminal")
    terminal.wait("executed automatically in 5s", SECONDS)
    start = time.monotonic()
    terminal.wait("executed automatically in 1s", SECONDS)
    assert 3.5 < time.monotonic() - start < 5.5
    terminal.press("C-a", "x")
    terminal.wait("^status=130$")


def test_a_menu(terminal: Tmux, grub: str) -> None:
    terminal.bt("run", grub, "--display", "terminal")
    terminal.wait("executed automatically in 5s", SECONDS)
    terminal.press("Down")
    terminal.wait(r"\*Second", SECONDS)
    assert not re.search("executed automatically", "\n".join(terminal.screen()))
    terminal.type("c")
    terminal.wait("^grub>", SECONDS)
    terminal.type('echo "a line, typed at once"\n')
    terminal.wait("^a line, typed at once$", SECONDS)
    terminal.press("C-a", "x")
    terminal.wait("^status=130$")
    assert terminal.is_as_before()
    terminal.wait("^a line, typed at once$")
