"""`bt-qemu` on a terminal: what is QEMU's window is the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import code
from tests.console.guests import PICTURE
from tests.console.terminals import Tmux, needs_tmux

pytestmark = needs_tmux
DRAW = PICTURE.partition("    mov al, 0x60 ")[0] + code.SAY_READY + "cli\nhlt\n"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    with Tmux(tmp_path) as started:
        yield started


def test_screen_monitor_and_serial_port_of_a_halted_guest(terminal: Tmux, tmp_path: Path) -> None:
    """It stays, as QEMU's window does, until it is told to end; that is no failure."""
    guest = code.write(tmp_path / "guest.bin", DRAW)
    terminal.python("-m", "bt.cli.qemu.main", "-kernel", guest, *code.FLAT)
    terminal.wait("0123456789")
    terminal.press("M-2")
    terminal.wait(r"^\(qemu\)")
    terminal.type("info status\n")
    terminal.wait("^VM status: running")
    terminal.press("M-3")
    terminal.wait("^>")
    terminal.press("M-1")
    terminal.wait("0123456789")
    terminal.press("C-a", "x")
    terminal.wait("^status=0$")
    assert terminal.is_as_before()


def test_a_serial_port_by_name_is_on_the_terminal(terminal: Tmux, tmp_path: Path) -> None:
    guest = code.write(tmp_path / "guest.bin", code.ECHO)
    terminal.python("-m", "bt.cli.qemu.main", "-kernel", guest, *code.FLAT, "-serial", "stdio")
    terminal.wait("^>")
    terminal.type("abc")
    terminal.wait("^>abc")
    terminal.press("C-a", "c")
    terminal.wait(r"^\(qemu\)")
    terminal.type("quit\n")
    terminal.wait("^status=0$")
