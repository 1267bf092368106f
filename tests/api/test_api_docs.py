"""docs/api.md says what the docstrings say, and its examples run as they stand."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bt
import guest_images
from bt.machine.api_docs import PATH, render

EXAMPLES = re.findall(r"```python\n(.+?)```", PATH.read_text(encoding="utf-8"), re.DOTALL)


def test_it_is_current() -> None:
    assert PATH.read_text(encoding="utf-8") == render(), "python -m bt.machine.api_docs"


def test_the_names_of_bt_are_there_for_type_checkers_too() -> None:
    """Two forms of one list: what is imported when it is asked for, and what mypy reads."""
    tree = ast.parse(Path(bt.__file__).read_text(encoding="utf-8"))
    found = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bt.")
        for alias in node.names
    }
    assert found == vars(bt)["_NAMES"]
    for name in found:
        assert getattr(bt, name).__name__ == name
        assert name in dir(bt)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = bt.Nothing


def test_bt_alone_imports_nothing() -> None:
    code = "import sys, bt; print([name for name in sys.modules if name.startswith('bt.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernel.elf").write_bytes(guest_images.image("hello").path.read_bytes())
    for name in ("disc.iso", "other.iso"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    exec(compile(EXAMPLES[number], f"{PATH.name}, example {number + 1}", "exec"), {"__name__": "example"})
