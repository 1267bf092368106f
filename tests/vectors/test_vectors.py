"""Instructions recorded on a Harris 80286, in every engine; and that the runner sees what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bt.engine.library.library import load_library
from bt.x86.context import DE
from tests.engines import factories
from tests.vectors.conformance import make_runner, read_batch
from tests.vectors.differences import RULES, rule_for
from tests.vectors.runner import VectorRunner, prepare
from tests.vectors.vectors import Piece, Vector, load, opcodes

SAMPLE = 12  # of each opcode, in the everyday run


@pytest.fixture(scope="module", params=factories(unpaged=False))
def runner(request: pytest.FixtureRequest) -> Iterator[VectorRunner]:
    """A runner on each engine in turn."""
    runner = make_runner(request.param, load_library())
    yield runner
    runner.close()


@pytest.mark.parametrize("row", range(0, 0xD, 2), ids="{:X}0".format)
def test_sample(runner: VectorRunner, row: int) -> None:
    """Two rows of the opcode map at a time."""
    for opcode in opcodes():
        if row <= int(opcode[:2], 16) >> 4 < row + 2:
            assert runner.run(read_batch(opcode, SAMPLE).ready) == [], opcode


@pytest.mark.slow
def test_everything(runner: VectorRunner) -> None:
    batches = [read_batch(opcode) for opcode in opcodes()]
    assert sum(batch.tests for batch in batches) == 27_720
    assert [finding for batch in batches for finding in runner.run(batch.ready)] == []


@pytest.mark.slow
def test_each_rule_has_vectors() -> None:
    found = {rule.key for opcode in opcodes() for vector in load(opcode) if (rule := rule_for(vector)) is not None}
    assert found == {rule.key for rule in RULES if rule.sampled}


@pytest.mark.parametrize(
    ("code", "before", "after", "exception", "key"),
    [
        ("f6fb", 0x0100, 0x0000, None, "idiv"),
        ("f6fb", 0xFEFE, 0x007F, None, "idiv"),
        ("f6fb", 0x0080, 0x0080, None, None),  # by -1
        ("f6fb", 0xFF00, 0x0080, None, None),  # by 2
        ("f63f", 0x0007, 0x0103, None, None),  # by 2 in memory
        ("f6fb", 0x0100, 0x0100, DE, None),
        ("f6f3", 0x0100, 0x0000, None, None),  # DIV
    ],
)
def test_idiv_that_should_have_raised(
    code: str, before: int, after: int, exception: int | None, key: str | None
) -> None:
    """The sample has no F6."""
    vector = _vector()
    changed = replace(
        vector,
        code=bytes.fromhex(code + "f4"),
        initial={**vector.initial, "ax": before},
        final={**vector.final, "ax": after},
        exception=exception,
    )
    rule = rule_for(changed)
    assert (rule and rule.key) == key


# -- the runner itself ------------------------------------------------------------------------------------------------


def _vector() -> Vector:
    """ADD [BX+0Eh], BL."""
    vector = next(load("00"))
    assert rule_for(vector) is None
    return vector


@pytest.mark.parametrize("register", ["ax", "bx", "sp", "di", "ip", "es", "cs", "ss", "ds"])
def test_a_wrong_register_is_found(runner: VectorRunner, register: str) -> None:
    vector = _vector()
    wrong = replace(vector, final={**vector.final, register: vector.final[register] ^ 1})
    (finding,) = runner.run([prepare(wrong)])
    assert f"{register} {vector.final[register]:x}/{wrong.final[register]:x}" in finding
    assert runner.run([prepare(vector)]) == []


@pytest.mark.parametrize(("flag", "bit"), [("CF", 0), ("PF", 2), ("AF", 4), ("SF", 7), ("DF", 10), ("OF", 11)])
def test_a_wrong_flag_is_found(runner: VectorRunner, flag: str, bit: int) -> None:
    vector = _vector()
    wrong = replace(vector, final={**vector.final, "flags": vector.final["flags"] ^ 1 << bit})
    (finding,) = runner.run([prepare(wrong)])
    assert f"{flag} of flags" in finding


def test_undefined_flags_are_not_compared(runner: VectorRunner) -> None:
    vector = _vector()
    wrong = replace(vector, final={**vector.final, "flags": vector.final["flags"] ^ 0x10}, undefined_flags=0x10)
    assert runner.run([prepare(wrong)]) == []


def test_wrong_memory_is_found(runner: VectorRunner) -> None:
    vector = _vector()
    target = vector.pieces[-1] if vector.pieces[-1].before != vector.pieces[-1].after else vector.pieces[0]
    wrong = replace(target, after=bytes(byte ^ 1 for byte in target.after))
    pieces = tuple(wrong if piece is target else piece for piece in vector.pieces)
    (finding,) = runner.run([prepare(replace(vector, pieces=pieces))])
    assert f"[{target.start:x}] {target.after[0]:02x}/{wrong.after[0]:02x}" in finding


def test_a_write_elsewhere_is_found(runner: VectorRunner) -> None:
    """Without the operand among its pieces, a MOV writes where nobody expects it."""
    vector = next(vector for vector in load("88") if rule_for(vector) is None and len(vector.pieces) == 2)
    code = tuple(piece for piece in vector.pieces if vector.code in piece.before)
    assert len(code) == 1
    silent = replace(vector, pieces=code)
    (finding,) = runner.run([prepare(vector), prepare(silent)])
    (written,) = {piece.start for piece in vector.pieces} - {code[0].start}
    assert f"wrote to {written:#x}" in finding
    assert runner.run([prepare(vector)]) == []


def test_a_missing_end_is_found(runner: VectorRunner) -> None:
    vector = _vector()
    endless = b"\xeb\xfe"  # jmp $
    at = vector.initial["cs"] * 16 + vector.initial["ip"]
    (finding,) = runner.run(
        [prepare(replace(vector, pieces=(Piece(at, at + 2, endless, endless, b"\xff\xff", bytes(2)),)))]
    )
    assert "BUDGET" in finding
