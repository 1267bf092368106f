"""docs/results.md lists what a result has, no more and no less."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import guest_images
from bt.engine.library.library import load_library
from bt.machine import EngineName, Machine, MachineConfig, Result
from bt.x86.exits import ExitReason
from tests.cli.conftest import Bt

DOCUMENT = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
NEVER_OF_A_MACHINE = {
    ExitReason.NONE,
    ExitReason.EXCEPTION,
    ExitReason.CALLOUT,
    ExitReason.CACHE_FULL,
    ExitReason.PROMOTE,
    ExitReason.INTERNAL,
}
"""A machine has no debugger that asks for exceptions, the engine flushes a full cache itself, and the others would be
bt's own faults."""


def tables(part: str) -> list[list[str]]:
    """The names in the first column of each table of a part of the document."""
    _, _, text = DOCUMENT.partition(f"# {part}\n")
    text = text.partition("\n## ")[0]
    found = [re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for table in text.split("\n\n")]
    return [[name for row in rows for name in re.findall(r"`(\w+)`", row)] for rows in found if rows]


def test_fields() -> None:
    (names,) = tables("What a run tells about itself")
    assert sorted(names) == sorted(Result.FIELDS)


def test_exits() -> None:
    (names,) = tables("exits")
    assert sorted(names) == sorted(reason.name.lower() for reason in set(ExitReason) - NEVER_OF_A_MACHINE)


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_statistics(engine: EngineName) -> None:
    both, translator = tables("statistics")
    machine = Machine(MachineConfig(memory=32 << 20, engine=engine), library=load_library())
    machine.load(guest_images.image("hello").read(), name="hello")
    result = machine.run()
    machine.close()
    assert sorted(result.statistics) == sorted(both + (translator if engine == "bt" else []))


def test_json(bt: Bt, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    bt("run", "hello", "--json", str(path))
    fields = DOCUMENT.partition("\n## ")[0]
    columns = re.findall(r"^\| `.+` \| (`[^|]*`)? \| [^|]* \|$", fields, re.MULTILINE)
    documented = {name for column in columns for name in re.findall(r"`(\w+)`", column)}
    given = {"schema", "version", "image", "append", "engine", "cpu", "memory_bytes"}
    assert json.loads(path.read_text()).keys() - given == documented
