"""A test that hangs in native code ends, as a failure that names it (the limit is in conftest.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMIT_SECONDS = 4
# A guest's loop is chained, and then the jump that closes it leads to itself: no budget ends that.
_HANGING = """
from bt.machine import Machine, MachineConfig

machine = Machine(MachineConfig(memory=2 << 20))  # not while the limit counts
machine.load(b"\\x40\\xeb\\xfd", flat=0x1000)  # again: inc eax; jmp again
machine.run(max_insns=1000)

def test_before():
    pass

def test_that_hangs():
    end = machine.cpu.control("hot_next")
    arena = machine.library.arena
    arena.write(end - 5 - arena.exec_base, b"\\xe9\\xfb\\xff\\xff\\xff")
    machine.run(max_insns=1000)

def test_behind():
    pass
"""


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_loop_in_native_code_ends(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "test_planted.py"
    path.write_text(_HANGING, encoding="utf-8")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-n", str(workers), "--rootdir", str(tmp_path)]
    limit = ["-o", f"everyday_seconds={LIMIT_SECONDS}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *limit, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "Timeout (0:00:04)!" in said
    assert f'"{path}", line 15 in test_that_hangs' in said
    if workers:  # the others are not lost
        assert "crashed while running 'test_planted.py::test_that_hangs'" in said
        assert "1 failed, 2 passed" in said
