"""Rules about files: their size, their names, and what must not stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = ("bt", "guest_images", "benchmarks", "tests", "docs", ".ci")
TOP_FILES = ("README.md", "Makefile", "LICENSE", "pyproject.toml", ".gitignore")
TEXT = {".py", ".md", ".toml", ".asm", ".c", ".h", ".sh", ".case", ".json", ".txt", ""}
MOST_LINES = 500
VAGUE_NAMES = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
# A directory of somebody's own machine. /tmp is everybody's.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/-])/(?:home|root|Users|work|mnt|srv)/\w")


def text_files() -> Iterator[Path]:
    for name in TOP:
        for path in sorted((ROOT / name).rglob("*")):
            hidden = any(part.startswith((".hyp", "__pycache__")) or part == "fetched" for part in path.parts)
            if path.is_file() and path.suffix in TEXT and not hidden:
                yield path
    yield from (ROOT / name for name in TOP_FILES)


@pytest.mark.parametrize("top", ["bt", "guest_images", "benchmarks", "tests"])
def test_files_fit_in_a_head(top: str) -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / top).rglob("*.py")}
    assert {str(path.relative_to(ROOT)): n for path, n in lines.items() if n > MOST_LINES} == {}


def test_names_say_what_is_inside() -> None:
    assert [path for path in text_files() if path.name in VAGUE_NAMES] == []


def test_nothing_points_into_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("see /" + "home/someone/bt", True),
        ('open("/' + 'work/main/x")', True),
        ("~/.cache/bt, $HOME/work/x, https://example.org/" + "home/x", False),
        ("/usr/lib and /tmp/bt-1000", False),
    ],
)
def test_the_rule_itself(line: str, found: bool) -> None:
    assert bool(MACHINE_PATH.search(line)) is found


def test_every_source_says_what_it_is_for() -> None:
    """Each module begins with a docstring (empty __init__ files aside)."""
    silent = [
        str(path.relative_to(ROOT))
        for top in ("bt", "guest_images", "benchmarks", "tests")
        for path in sorted((ROOT / top).rglob("*.py"))
        if (text := path.read_text(encoding="utf-8").strip()) and not text.startswith(('"""', 'r"""', "#!"))
    ]
    assert silent == []
