"""Real, virtual-8086 and 16-bit protected mode, a line each, under both engines and QEMU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from bt.engine.library.library import Library
from bt.inspect.compare.qemu_stub import PROGRAM, QemuStub
from tests.x86.system.lines import Line, run_line
from tests.x86.system.processor import Processor
from tests.x86.system.qemu_judge import Judge, can_judge
from tests.x86.system.sixteen_bit_cases import (
    LIMITS,
    PROTECTED,
    PROTECTED_LIMITS,
    REAL,
    VIRTUAL_8086,
    VIRTUAL_8086_EXTENSIONS,
    VIRTUAL_8086_LIMITS,
)

MODES = ("real", "v86", "protected16")


def cases(mode: str, *groups: str) -> list[str]:
    """Lines with their mode."""
    return [line.strip().replace("|", f"| mode={mode}", 1) for group in groups for line in group.strip().splitlines()]


JUDGED = [*cases("real", REAL), *cases("v86", VIRTUAL_8086), *cases("protected16", PROTECTED)]
UNJUDGED = [
    *cases("real", LIMITS),
    *cases("v86", VIRTUAL_8086_EXTENSIONS, VIRTUAL_8086_LIMITS),
    *cases("protected16", PROTECTED_LIMITS),
]


@pytest.mark.parametrize("text", [*JUDGED, *UNJUDGED])
def test_line(engine: Processor, text: str) -> None:
    run_line(engine, text)


@pytest.fixture(scope="module")
def judges(library: Library) -> Iterator[dict[str, Judge]]:
    if shutil.which(PROGRAM) is None:
        pytest.skip("qemu-system-i386 is not installed")
    processor = Processor(library)
    stubs = {mode: QemuStub() for mode in MODES}
    yield {mode: Judge(stub, mode, processor) for mode, stub in stubs.items()}
    for stub in stubs.values():
        stub.close()
    processor.close()


@pytest.mark.parametrize("text", [text for text in JUDGED if can_judge(Line.parse(text))])
def test_qemu_agrees(judges: dict[str, Judge], text: str) -> None:
    line = Line.parse(text)
    judges[line.setup["mode"]].check(line)
