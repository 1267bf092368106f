"""Documents name functions and files: they must be there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
_NAMED = re.compile(r"`(\w+)` \((bt/[\w/]+\.py)\)")
_FILE = re.compile(r"(?<![\w/.])((?:bt|tests|benchmarks|guest_images)/[\w/]+\.(?:py|case|patch|sh|toml))\b")


@cache
def definitions(path: Path) -> frozenset[str]:
    """Names of the functions, methods and classes of a file."""
    kinds = ast.FunctionDef | ast.ClassDef
    return frozenset(node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds))


def test_journeys_lead_by_functions_that_exist() -> None:
    text = (ROOT / "docs/journeys.md").read_text("utf-8")
    named = _NAMED.findall(text)
    assert len(named) > 40
    assert [
        (name, file) for name, file in named if not (ROOT / file).exists() or name not in definitions(ROOT / file)
    ] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    named = set(_FILE.findall(document.read_text("utf-8")))
    assert sorted(file for file in named if not (ROOT / file).exists()) == []


def test_the_glossary_is_in_order() -> None:
    lines = (ROOT / "docs/glossary.md").read_text("utf-8").splitlines()
    words = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][2:]
    assert words == sorted(words, key=str.casefold)
    assert len(set(words)) == len(words)
