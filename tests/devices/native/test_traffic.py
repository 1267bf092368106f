"""Random register traffic: guests see the same, at the same instructions, whoever answers."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from bt.engine.library.library import Library, load_library
from bt.machine import EngineName
from tests.devices.native.rig import ENGINES, Access, Run, difference

SEEDS = range(6)
ACCESSES = 400
LOOPS = (0, 0, 0, 1, 7, 100, 3000, 20_000)
UART = 0x3F8


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    loaded = load_library()
    yield loaded
    loaded.close()


def timers(random: Random) -> Access:
    """8254 and port 61h."""
    match random.randrange(8):
        case 0:
            return Access("out8", 0x43, random.choice((0x34, 0x36, 0x30, 0xB0, 0xB6, 0xB4, 0x72, 0xB8, 0xBA, 0x35)))
        case 1:
            return Access("out8", 0x43, random.choice((0x00, 0x40, 0x80, 0xD2, 0xC2, 0xE2, random.randrange(256))))
        case 2:
            return Access("out8", random.randrange(0x40, 0x43), random.randrange(256))
        case 3:
            return Access("out8", 0x61, random.randrange(4))
        case 4:
            return Access("in8", 0x61)
        case _:
            return Access(random.choice(("in8", "in8", "in8", "in16")), random.randrange(0x40, 0x44))


def serial(random: Random) -> Access:
    """UART, port E9h and the POST port, whose output keeps its order."""
    match random.randrange(9):
        case 0:
            return Access("out8", UART + 3, random.choice((0x03, 0x03, 0x00, 0x83)))
        case 1:
            return Access("out8", UART + 1, random.choice((0, 0, 1, 2, 7, 15)))
        case 2:
            return Access("out8", UART + random.choice((2, 4, 7)), random.randrange(32))
        case 3 | 4:
            return Access("out8", UART, random.choice((10, *range(32, 256))))
        case 5:
            return Access("out8", 0xE9, random.choice((10, *range(32, 256))))
        case 6:
            return Access("out8", random.randrange(0x80, 0x90), random.randrange(256))
        case 7:
            return Access("in16", UART + random.randrange(7))
        case _:
            return Access("in8", random.choice((0xE9, 0x80, *range(UART, UART + 8))))


def keyboard(random: Random) -> Access:
    match random.randrange(4):
        case 0:
            return Access("out8", 0x64, random.choice((0x20, 0x60, 0xAA, 0xAD, 0xAE, 0xD0, 0xD2, 0xC0)))
        case 1:
            return Access("out8", 0x60, random.choice((0x00, 0x45, 0xED, 0xEE, 0xF2, 0xF4, 0xFF)))
        case 2:
            return Access("in8", 0x60)
        case _:
            return Access("in8", 0x64)


TRAFFIC = {"timers": timers, "serial": serial, "keyboard": keyboard}


def accesses(kind: str, seed: int) -> list[Access]:
    random = Random(f"{kind} {seed}")
    return [TRAFFIC[kind](random)._replace(loops=random.choice(LOOPS)) for _ in range(ACCESSES)]


def through(library: Library, engine: EngineName, kind: str, seed: int, *, native: bool) -> dict[str, object]:
    """What is seen in one go, with something to receive in the middle."""
    run = Run.of(library, engine, accesses(kind, seed), native=native)
    try:
        if not run.go(max_insns=50_000):
            run.machine.com1.receive(b"What was typed meanwhile, more than a FIFO takes.")
            run.go()
        return run.seen() | {"exits": run.machine.exits}
    finally:
        run.close()


def in_pieces(library: Library, kind: str, seed: int) -> dict[str, object]:
    """What is seen by a guest that is moved, now and then, to another machine."""
    random = Random(seed)
    traffic = accesses(kind, seed)
    run = Run.of(library, "bt", traffic, native=True)
    moves = 0
    while not run.go(max_insns=random.randrange(1, 100_000) if moves else 50_000):
        if not moves:
            run.machine.com1.receive(b"What was typed meanwhile, more than a FIFO takes.")
        snapshot, sent, exits = run.machine.snapshot(), run.sent, run.machine.exits
        run.close()
        moves += 1
        run = Run.of(library, ENGINES[moves % 2], traffic, native=moves % 3 != 0)
        run.machine.restore(snapshot)
        run.sent[:] = sent
        assert run.machine.exits == exits
    assert moves > 20
    seen = run.seen()
    run.close()
    return seen


@pytest.mark.parametrize("kind", TRAFFIC)
def test_snapshots_have_what_is_shared(library: Library, kind: str) -> None:
    python = through(library, "interp", kind, 0, native=False)
    assert difference(in_pieces(library, kind, 0), python) == ""


@pytest.mark.parametrize("kind", TRAFFIC)
@pytest.mark.parametrize("seed", SEEDS)
def test_python_and_native_code_answer_alike(library: Library, kind: str, seed: int) -> None:
    python = through(library, "bt", kind, seed, native=False)
    exits = python.pop("exits")
    for engine in ENGINES:
        native = through(library, engine, kind, seed, native=True)
        fewer = native.pop("exits")
        assert difference(native, python) == "", f"{engine}, not as Python"
        assert isinstance(exits, dict)
        assert isinstance(fewer, dict)
        assert fewer["io"] < 0.75 * exits["io"], "native code has answered"
