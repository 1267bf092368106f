"""Compiler processes: in order, wherever they are started from, and LLVM's crashes are only errors."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from bt.codegen.errors import CodegenError
from bt.codegen.llvm import assemble, assemble_many

# LLVM 22 cannot do these without SSE; the first exits, the second aborts
BAD_ASSEMBLY = 'source_filename = "odd"\ndefine void @f() {\n  call void asm sideeffect "bogus", ""()\n  ret void\n}'
BAD_VECTOR = """source_filename = "vector"
declare <4 x float> @llvm.x86.sse.rcp.ps(<4 x float>)
define <4 x float> @f(<4 x float> %x) {
  %y = call <4 x float> @llvm.x86.sse.rcp.ps(<4 x float> %x)
  ret <4 x float> %y
}"""


def module(n: int) -> str:
    return f"define i64 @f{n}() {{\n  ret i64 {n}\n}}\n"


def children() -> set[str]:
    found: set[str] = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread of somebody else that has ended
            found.update((task / "children").read_text().split())
    return found


def test_objects_come_in_order_and_equal_those_made_here() -> None:
    irs = [module(n) for n in range(9)]
    calls: list[tuple[int, int]] = []
    objects = list(assemble_many(irs, jobs=2, progress=lambda done, total: calls.append((done, total))))
    assert objects == [assemble(ir) for ir in irs]
    assert calls == [(n, 9) for n in range(1, 10)]


def test_nothing_to_do() -> None:
    assert list(assemble_many([], jobs=4)) == []


@pytest.mark.parametrize(
    ("ir", "complaint"),
    [
        (BAD_ASSEMBLY, "odd: the compiler process ended (exit code 1): error: <inline asm>:1:2: invalid instruction"),
        (BAD_VECTOR, "vector: the compiler process ended (SIGABRT): LLVM ERROR: Do not know how to split"),
        ("define void @f() {\n  what\n}", "module 2 of 3:2: expected instruction opcode: what"),
    ],
)
def test_what_llvm_cannot_do_is_an_error(ir: str, complaint: str) -> None:
    before = children()
    with pytest.raises(CodegenError) as caught:
        list(assemble_many([module(1), ir, module(2)], jobs=2))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert children() == before


def test_leaving_early_ends_the_processes() -> None:
    before = children()
    objects = assemble_many([module(n) for n in range(20)], jobs=2)
    next(objects)
    assert len(children() - before) == 2
    objects.close()
    assert children() == before


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from bt.codegen.llvm import assemble_many\n"
        "print('once', [len(o) > 0 for o in assemble_many(['define void @f() { ret void }'], jobs=2)])\n"
    )
    run = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "once [True]\n"
    assert run.stderr == ""


def test_a_process_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(CodegenError, match="/nowhere/python: cannot start a compiler process: No such file"):
        list(assemble_many([module(1)], jobs=1))
