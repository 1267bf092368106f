"""Room for code comes by pieces of the library's arena: code runs on from piece to piece, and all of it goes back."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import NamedTuple

import pytest

from bt.codegen.arena import ArenaFull
from bt.engine.library.library import Library, load_library
from bt.engine.library.pieces import Pieces
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from bt.memory.map import PhysicalMap
from guest_images.assembler import assemble
from tests.smc.guest import DONE, PROGRAM, Mode, Paging, SmcGuest

PIECE_BYTES = 64 << 10
FUNCTIONS, ROUNDS = 5000, 3  # 160 KB of thunks, 1 MB of translated code
CODE, ONE, SUM = 0x10_0000, 0x2_0000, 0x2_0004
ENGINES = ("interp", "bt")
NEEDED = {"interp": 1, "bt": 2}  # pieces without which there is no processor: for thunks, and for translated code
FLAT = Mode(Paging.OFF, 0)


class Outcome(NamedTuple):
    """What a run answered, and what its engine had to do for it."""

    sums: tuple[int, int]
    instructions: int
    grown: int
    begun: int


EXPECTED = (ROUNDS * FUNCTIONS, 1 + ROUNDS * sum(range(FUNCTIONS)))


class _Counting(Vcpu):
    """Counts how often it got more room and how often it began afresh."""

    begun = grown = 0

    def _flush(self) -> None:
        super()._flush()
        self.begun += 1

    def _grow(self) -> bool:
        more = super()._grow()
        self.grown += more
        return more


class _CountingTranslating(_Counting, TranslatingVcpu):
    """The same for the translator."""


KINDS: dict[str, Callable[[Library, PhysicalMap], _Counting]] = {
    "interp": _Counting,
    "bt": partial(_CountingTranslating, tier="1"),  # what tier 2 forgets is no question here
}


@cache
def _program() -> tuple[bytes, bytes]:
    """Calls of many functions that add their number to EBX and one to an x87 sum, three times; and the functions."""
    first = -(-(5 * FUNCTIONS + 1) // 16) * 16
    calls = b"".join(b"\xe8" + struct.pack("<i", first + 16 * number - 5 * (number + 1)) for number in range(FUNCTIONS))
    functions = b"".join(
        (b"\x81\xc3" + struct.pack("<I", n) + b"\xd8\x05" + struct.pack("<I", ONE) + b"\xc3").ljust(16, b"\xcc")
        for n in range(FUNCTIONS)  # add ebx, n; fadd dword ptr [ONE]; ret
    )
    start = assemble(
        f"""
        mov dword ptr [{ONE}], 0x3F800000
        fninit
        fldz
        mov ebp, {ROUNDS}
        inc ebx
    again:
        call {CODE}
        dec ebp
        jnz again
        fistp dword ptr [{SUM}]
        mov eax, [{SUM}]
        int {DONE}
        """,
        32,
        PROGRAM,
    )
    return start, (calls + b"\xc3").ljust(first, b"\xcc") + functions


def run(engine: str, library: Library) -> Outcome:
    guest = SmcGuest(KINDS[engine], library)
    cpu = guest.cpu
    assert isinstance(cpu, _Counting)
    try:
        start, code = _program()
        cpu.begun = -1  # the guest's own start flushes
        sums = guest.run(FLAT, {PROGRAM: start, CODE: code})
        return Outcome(sums, cpu.instructions, cpu.grown, cpu.begun)
    finally:
        cpu.close()
        guest.ram.close()


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    loaded = load_library().replace(piece_bytes=PIECE_BYTES, reserved_bytes=0)
    yield loaded
    loaded.close()


@pytest.fixture
def plenty() -> Library:
    """One whose first piece takes everything."""
    return load_library().replace(piece_bytes=4 << 20)


@pytest.mark.parametrize("engine", ENGINES)
def test_code_runs_on_from_piece_to_piece(library: Library, plenty: Library, engine: str) -> None:
    """Nothing is forgotten, and the guest does not notice: not by its instructions either."""
    outcome = run(engine, library)
    assert outcome.sums == EXPECTED
    assert outcome.begun == 0
    assert outcome.grown >= (FUNCTIONS * 32 // PIECE_BYTES if engine == "interp" else 10)
    assert run(engine, plenty) == Outcome(EXPECTED, outcome.instructions, 0, 0)


@contextmanager
def all_but(library: Library, left: int) -> Iterator[None]:
    """Somebody else has all pieces but so many."""
    others: list[int] = []
    with suppress(ArenaFull):
        while True:
            others.append(library.claim(first=True))
    for _ in range(left):
        library.release(others.pop())
    yield
    for piece in others:
        library.release(piece)


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_processor_goes_on_with_what_it_has_when_there_is_no_more(library: Library, engine: str, more: int) -> None:
    with all_but(library, NEEDED[engine] + more):
        outcome = run(engine, library)
    assert outcome.sums == EXPECTED
    assert outcome.begun > 0
    assert more * outcome.begun <= outcome.grown <= more * (outcome.begun + 1), "what comes last may fit without"
    assert outcome.instructions == run(engine, library).instructions


@pytest.mark.parametrize("engine", ENGINES)
def test_a_processor_that_cannot_have_its_first_pieces_is_not_made(library: Library, engine: str) -> None:
    with all_but(library, NEEDED[engine] - 1):
        for _ in range(3):  # and what it had got by then goes back
            with pytest.raises(ArenaFull, match=r"arena bt-library: \d+ bytes asked"):
                run(engine, library)
    assert run(engine, library).sums == EXPECTED


def test_all_pieces_go_back(library: Library) -> None:
    run("bt", library)
    used = library.arena.used
    for _ in range(5):
        run("bt", library)
        run("interp", library)
    assert library.arena.used == used


def test_what_is_reserved_is_for_first_pieces(library: Library) -> None:
    generous = library.replace(reserved_bytes=NEEDED["bt"] * PIECE_BYTES)
    with all_but(library, 10):
        greedy = Pieces(generous, most=1000)
        for _ in range(2):
            while greedy.grow():
                pass
            assert run("bt", generous).sums == EXPECTED
            greedy.shrink()  # what comes back counts as well
        greedy.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_machines_with_much_code_leave_room_for_others(library: Library, engine: str) -> None:
    """In several threads, more machines than there is room for at once; none of them fails."""
    threads, more = 4, 5
    needed = threads * NEEDED[engine]
    generous = library.replace(reserved_bytes=needed * PIECE_BYTES)
    with all_but(library, needed + more), ThreadPoolExecutor(threads) as pool:
        outcomes = list(pool.map(lambda _: run(engine, generous), range(3 * threads)))
    assert {outcome.sums for outcome in outcomes} == {EXPECTED}
    assert len({outcome.instructions for outcome in outcomes}) == 1
    assert any(outcome.grown for outcome in outcomes)
    assert any(outcome.begun for outcome in outcomes)
