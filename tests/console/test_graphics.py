"""Graphics modes on a real terminal: two pixels a character, the colours those of the VGA's picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from tests.console.guests import MODE_12H, MODE_13H, write_boot_sector
from tests.console.terminals import Tmux, needs_tmux

pytestmark = needs_tmux
Colour = tuple[int, ...]
Cell = tuple[str, Colour, Colour]
STEPS = (0, 95, 135, 175, 215, 255)  # of the cube of 256 colours
_SEQUENCE = re.compile(r"\x1b\[([\d;]*)m|(.)")
SECONDS = 120.0


def colour(parts: list[str]) -> Colour:
    """Of "5;N" or "2;R;G;B"."""
    if parts[0] == "2":
        return tuple(map(int, parts[1:4]))
    number = int(parts[1]) - 16
    return STEPS[number // 36], STEPS[number // 6 % 6], STEPS[number % 6]


def cells(terminal: Tmux) -> list[list[Cell]]:
    """Characters with the colours of their upper and lower halves."""
    found = []
    ink: Colour = (0, 0, 0)
    paper: Colour = (0, 0, 0)
    for line in terminal.coloured().split("\n"):
        row: list[Cell] = []
        for codes, character in _SEQUENCE.findall(line):
            if character:
                row.append((character, ink, paper))
                continue
            parts = codes.split(";")
            while parts:
                code = parts.pop(0)
                if code in ("38", "48"):
                    length = 4 if parts[0] == "2" else 2
                    if code == "38":
                        ink = colour(parts)
                    else:
                        paper = colour(parts)
                    del parts[:length]
                elif code in ("", "0"):
                    ink = paper = (0, 0, 0)
        found.append(row)
    return found


def far(one: Colour, other: Colour) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    with Tmux(tmp_path, 80, 31) as started:
        yield started


@pytest.mark.parametrize(("depth", "nearest"), [("truecolor", 1), ("", 48)], ids=["24 bits", "256 colours"])
@pytest.mark.parametrize(
    ("source", "rows"), [(MODE_13H, 25), pytest.param(MODE_12H, 30, marks=pytest.mark.slow)], ids=["13h", "12h"]
)
def test_a_graphics_mode(terminal: Tmux, tmp_path: Path, source: str, rows: int, depth: str, nearest: int) -> None:
    """Each half of a character is the colour of the eight pixels by eight that it stands for."""
    terminal.run(f"export COLORTERM={depth}")
    disk, shot = write_boot_sector(tmp_path, source), tmp_path / "shot.png"
    terminal.bt("run", disk, "--display", "terminal", "--screenshot", str(shot))
    terminal.wait("^▀{80}", SECONDS)
    assert terminal.until(lambda: _is_drawn(cells(terminal)[rows - 1]), SECONDS) is not None
    shown = _still(terminal)
    assert [len(row) for row in shown[:rows]] == [80] * rows
    terminal.type("q")
    terminal.wait("^status=1$", SECONDS)
    assert terminal.is_as_before()
    with PIL.Image.open(shot) as picture:
        assert picture.size == (640, 16 * rows)
        wanted = picture.convert("RGB")
    for y, row in enumerate(shown[:rows]):
        for x, (character, upper, lower) in enumerate(row):
            assert character == "▀"
            for half, found in enumerate((upper, lower)):
                pixel = wanted.getpixel((8 * x + 4, 16 * y + 8 * half + 4))
                assert isinstance(pixel, tuple)
                assert far(found, pixel) <= nearest, (x, y, half)


def _is_drawn(row: list[Cell]) -> re.Match[str] | None:
    """The last corner is of a colour in both pictures."""
    return re.match("", "") if len(row) == 80 and any(row[-1][2]) else None


def _still(terminal: Tmux) -> list[list[Cell]]:
    """What is shown once nothing has changed for ten looks: on a busy host the guest stands still for some."""
    before: list[list[Cell]] = []
    same = 0

    def look() -> re.Match[str] | None:
        nonlocal before, same
        now = cells(terminal)
        same, before = same + 1 if now == before else 0, now
        return re.match("", "") if same == 10 else None

    assert terminal.until(look, SECONDS) is not None
    return before
