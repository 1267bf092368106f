"""--display terminal on a real terminal: what is shown, what keys do, and how the terminal is left."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bt.console.text_screen import GLYPHS
from tests.cli import code
from tests.console import guests
from tests.console.terminals import Tmux, needs_tmux

pytestmark = needs_tmux
KEYS = {"a": "1e", "F5": "3f", "Up": "48", "Escape": "01", "C-c": "1d 2e", "M-x": "38 2d", "PPage": "49", "F12": "58"}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    with Tmux(tmp_path) as started:
        yield started


def show(terminal: Tmux, *options: str, source: str = guests.PICTURE) -> None:
    """Start the guest that shows a picture, and wait for that."""
    terminal.bt(*guests.write(terminal.scratch, source), "--display", "terminal", *options)
    terminal.wait("╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀")


def ended(terminal: Tmux, status: int) -> None:
    """bt has ended with a status of the shell, the terminal is as it was, the last screen can be read."""
    terminal.wait(rf"^status={status}$")
    terminal.until(lambda: re.match("", "") if (terminal.scratch / "after").exists() else None, 10)
    assert terminal.is_as_before()
    assert terminal.has("alternate_on") == "0"
    assert terminal.has("cursor_flag") == "1"
    assert "╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀" in "\n".join(terminal.screen())


def test_all_characters_and_the_cursor(terminal: Tmux) -> None:
    show(terminal)
    lines = terminal.screen()
    for row in range(16):
        assert lines[row][:36].rstrip().ljust(20).startswith(GLYPHS[16 * row : 16 * row + 16].rstrip())
        assert lines[row][20:36] == "X" * 16
    assert (terminal.has("cursor_x"), terminal.has("cursor_y"), terminal.has("alternate_on")) == ("5", "20", "1")
    terminal.type("q")
    ended(terminal, 1)


def test_all_colours(terminal: Tmux) -> None:
    """Intensity, and bit 7 as blinking, which is what text modes begin with."""
    show(terminal)
    rows = terminal.coloured().split("\n")
    ansi = (0, 4, 2, 6, 1, 5, 3, 7)
    colours = [30 + colour for colour in ansi] + [90 + colour for colour in ansi]
    assert "".join(f"\x1b[{colour}mX" for colour in colours) in rows[0]
    for number in range(1, 8):
        assert f"\x1b[{40 + ansi[number]}mX" in rows[number].replace("\x1b[30m", "")
        assert "\x1b[5" not in rows[number]
        assert "\x1b[5" in rows[number + 8]
    terminal.type("q")
    ended(terminal, 1)


def test_keys(terminal: Tmux) -> None:
    show(terminal)
    for number, key in enumerate(KEYS, 1):
        terminal.press(key)
        terminal.wait(f"^{' '.join([*KEYS.values()][:number])} *$")  # a lone ESC is one that nothing follows
    terminal.press("C-a", "C-a")
    terminal.press("C-a", "d")
    terminal.press("C-a", "k")
    terminal.type("ctrl-alt-f2\r")
    terminal.wait("1d 1e 1d 38 53 1d 38 3c")
    terminal.type("q")
    ended(terminal, 1)


def test_keys_for_the_console_among_others_in_one_piece(terminal: Tmux) -> None:
    """As they come when the machine has other work: each goes to who is talked with when it is its turn."""
    show(terminal)
    terminal.type("a\x01kctrl-alt-f2\rb\x01k\x1b[A")
    terminal.wait("^1e 1d 38 3c 30 *$")
    terminal.type("c\x01cinfo status\r")
    terminal.wait("VM status: running")
    terminal.type("\x1b1d\x1b2\x1b1e")
    terminal.wait("^1e 1d 38 3c 30 2e 20 12 *$")
    terminal.type("q")
    ended(terminal, 1)


def test_what_is_on_no_key_is_said_once(terminal: Tmux) -> None:
    show(terminal)
    terminal.type("é")
    terminal.wait("'é' is on no key of a US keyboard")
    terminal.type("a")
    terminal.wait("^1e")
    assert not re.search("on no key", "\n".join(terminal.screen()))
    terminal.type("éb")
    terminal.wait("^1e 30")
    assert not re.search("on no key", "\n".join(terminal.screen()))
    terminal.type("q")
    ended(terminal, 1)


def test_a_smaller_terminal_shows_where_the_cursor_is(terminal: Tmux) -> None:
    show(terminal)
    terminal.resize(40, 10)
    terminal.wait(r"\A░▒▓│┤╡╢╖╕╣║╗╝╜╛┐    X{16}$", 10)
    assert (terminal.has("cursor_x"), terminal.has("cursor_y")) == ("5", "9")
    terminal.resize(100, 40)
    terminal.wait(r"\A ☺☻♥♦♣♠•◘○◙♂♀♪♫☼ {4}X{16}$", 10)
    assert (terminal.has("cursor_x"), terminal.has("cursor_y")) == ("5", "20")
    terminal.type("q")
    ended(terminal, 1)


def test_screen_monitor_and_serial_port(terminal: Tmux) -> None:
    """What the port says meanwhile is kept for who looks there."""
    source = code.SAY_READY + guests.PICTURE
    show(terminal, source=source)
    terminal.press("C-a", "c")
    terminal.wait(r"^>\s*\n\(bt\)$")
    terminal.type("info status\r")
    terminal.wait("VM status: running")
    terminal.press("M-1")
    terminal.wait("╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀")
    terminal.press("M-3")
    terminal.wait("VM status: running")
    terminal.press("C-a", "1")
    terminal.wait("╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀")
    terminal.press("C-a", "h")
    terminal.wait("C-a x +exit bt")
    terminal.type("q")
    ended(terminal, 1)


@pytest.mark.parametrize(
    ("end", "status"),
    [("C-a x", 130), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)],
    ids=str,
)
def test_each_way_to_end_it_restores_the_terminal(terminal: Tmux, end: str | signal.Signals, status: int) -> None:
    show(terminal)
    if isinstance(end, str):
        terminal.press(*end.split())
    else:
        os.kill(terminal.child(), end)
    ended(terminal, status)


def test_a_traceback_restores_the_terminal(terminal: Tmux) -> None:
    """A device fails when its port is read."""
    guest = guests.write(terminal.scratch, guests.PICTURE.replace("cmp bl, 0x10", "in al, 0x08\ncmp bl, 0x10"))
    (terminal.scratch / "broken.py").write_text(
        "import sys; from bt.cli.main import main; from bt.devices.chipset.dma8237 import Dma8237Pair\n"
        "def broken(*arguments): raise ZeroDivisionError\n"
        "Dma8237Pair.read = broken; sys.exit(main(sys.argv[1:]))"
    )
    terminal.python("broken.py", *guest, "--display", "terminal")
    terminal.wait("╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀")
    terminal.type("a")
    terminal.wait("bt: internal error: ZeroDivisionError")
    ended(terminal, 70)


def test_stopping_and_going_on(terminal: Tmux) -> None:
    """SIGTSTP gives the terminal to the shell, `fg` takes it again and draws all of it."""
    show(terminal)
    process = terminal.child()
    os.kill(process, signal.SIGTSTP)
    terminal.wait(r"Stopped")
    assert terminal.has("alternate_on") == "0"
    terminal.run("stty -g > stopped; echo ready")
    terminal.wait("^ready$")
    assert (terminal.scratch / "stopped").read_text() == (terminal.scratch / "before").read_text()
    terminal.type("fg\n")
    terminal.wait("╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀")
    assert terminal.has("alternate_on") == "1"
    terminal.type("a")
    terminal.wait("^1e *$")
    terminal.press("C-a", "x")
    terminal.wait("stopped by the user")
    assert terminal.has("alternate_on") == "0"


def test_a_terminal_that_went_away(terminal: Tmux) -> None:
    show(terminal)
    process = terminal.child()
    terminal.hang_up()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--display", "terminal"], "standard input is no terminal"),
        (["-curses"], "standard input is no terminal"),
        (["--display", "x11"], "-display x11: there are terminal, curses, none"),
    ],
)
def test_where_it_cannot_be(tmp_path: Path, arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    from bt.cli.main import main

    assert main(["run", "hello", *arguments]) == 2
    assert said in capfd.readouterr().err
