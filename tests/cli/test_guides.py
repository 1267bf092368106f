"""The pages for each kind of user: their commands run as they stand, and say what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import guest_images
from bt.firmware import roms
from tests.cli.test_public_lines import boot_sector
from tests.everyday import one_in

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("for-*.md"))
FENCE = re.compile(r"^```(console|python)\n(.+?)^```", re.MULTILINE | re.DOTALL)
OF_SEABIOS = re.compile("SeaBIOS|Booting from")


class Block(NamedTuple):
    page: str
    number: int
    kind: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for number, (kind, text) in enumerate(FENCE.findall(page.read_text("utf-8")), 1):
        yield Block(page.name, number, kind, text)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages have, and a directory of commands."""
    found = tmp_path_factory.mktemp("guide")
    shutil.copy(guest_images.image("hello").path, found / "kernel.elf")
    (found / "disk.img").write_bytes(boot_sector().ljust(1 << 20, b"\0"))
    return found


@pytest.mark.parametrize(
    "block",
    one_in(3, [block for page in PAGES for block in blocks(page)]),
    ids=lambda block: f"{block.page} {block.number}",
)
def test_a_page_does_what_it_says(scratch: Path, block: Block) -> None:
    if OF_SEABIOS.search(block.text) and roms.find("bios-256k.bin") is None:
        pytest.skip("SeaBIOS is not installed")
    if "gdb " in block.text and shutil.which("gdb") is None:
        pytest.skip("gdb is not installed: tests/install-debian.sh")
    if block.kind == "python":
        subprocess.run(
            [sys.executable, "-c", block.text], cwd=scratch, check=True, timeout=300, stdin=subprocess.DEVNULL
        )
        return
    environment = os.environ | {"PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    for line, wanted in commands(block.text):
        done = subprocess.run(
            ["bash", "-c", line], cwd=scratch, env=environment, timeout=300, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert re.fullmatch(wanted, done.stdout.replace("\r", "")), f"{line}\n{done.stdout}"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command, and a regular expression for what it says: ... stands for anything."""
    for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, said = entry.partition("\n")
        yield line, re.escape(said).replace(r"\.\.\.", r"(?s:.*)")


def test_each_kind_of_user_has_a_page() -> None:
    assert [page.stem for page in PAGES] == ["for-ci", "for-firmware", "for-os-courses", "for-research"]
    assert all(sum(1 for _ in blocks(page)) >= 3 for page in PAGES)


@pytest.mark.parametrize(
    ("said", "matches"), [("a\nb\nc\n", True), ("a\nc\n", True), ("a\nx\n", False), ("b\nc\n", False)]
)
def test_the_rule_itself(said: str, matches: bool) -> None:
    ((line, wanted),) = commands("$ cat\na\n...c\n")
    assert line == "cat"
    assert (re.fullmatch(wanted, said) is not None) is matches
