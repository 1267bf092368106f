"""Descriptors, mappings and memory go back when a machine is closed, not when the garbage collector comes."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bt.codegen.arena import Arena, ArenaFull
from bt.engine.library.library import PIECE_BYTES, Library
from bt.engine.vcpu import own_vcpu
from bt.errors import BadUsage, BtError
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86 import capstone_layout
from bt.x86.state import EAX
from tests.api.guest import CODE, ENGINES, MEMORY, machine
from tests.everyday import one_in

MACHINES = 50
POWERS = "mov eax, 1\nagain: imul eax, eax, 3\ncall other\njmp again\nother: inc ecx\nret"


class Held(NamedTuple):
    descriptors: int
    mappings: int
    mapped_kib: int


def held() -> Held:
    """What the process has of the host's now."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines]
    return Held(descriptors, len(lines), sum(int(end, 16) - int(start, 16) for start, end in spans) >> 10)


@contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


def one(engine: EngineName, library: Library | None) -> None:
    with Machine(MachineConfig(memory=MEMORY, engine=engine), library=library) as guest:
        guest.load(b"\xeb\xfe", flat=CODE)
        guest.run(max_insns=10)


def growth(before: Held, after: Held) -> Held:
    return Held(*(new - old for old, new in zip(before, after, strict=True)))


@pytest.mark.parametrize("own", [False, True], ids=["shared library", "the process's library"])
@pytest.mark.parametrize("engine", ENGINES)
def test_machines_leave_nothing_behind(library: Library, engine: EngineName, own: bool) -> None:
    given = None if own else library
    with no_collection():
        for _ in range(3):
            one(engine, given)
        before = held()
        for _ in range(MACHINES):
            one(engine, given)
        more = growth(before, held())
    assert more.descriptors == 0
    # the collector finds the Python objects, which is a few hundred KiB a machine; its areas have 140 MiB
    assert more.mappings < MACHINES // 5
    assert more.mapped_kib < MACHINES * 512


@pytest.mark.parametrize("engine", ENGINES)
def test_machines_without_close_are_collected(library: Library, engine: EngineName) -> None:
    """And so is their room in the library."""
    for number in range(30):
        machine = Machine(MachineConfig(memory=MEMORY, engine=engine), library=library)
        if number == 0:
            before, used = held(), library.arena.used  # with what machines share: the native code of devices
        del machine
        gc.collect()
    assert growth(before, held()).descriptors <= 0
    assert library.arena.used <= used + 2 * PIECE_BYTES


class Refused(OSError):
    """The host's answer that a test has planted."""


class Countdown:
    """Lets so many calls pass and has the next one fail."""

    def __init__(self, allowed: int, real: Any, failure: BaseException) -> None:
        self.left, self._real, self._failure = allowed, real, failure

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            raise self._failure
        return self._real(*arguments, **named)


NO_MEMORY = Refused(12, "Cannot allocate memory")
PLANTS: dict[str, tuple[Any, str, BaseException]] = {
    "memory": (mmap, "mmap", NO_MEMORY),
    "descriptors": (os, "memfd_create", Refused(24, "Too many open files")),
    "disassembler": (capstone_layout, "Handle", capstone_layout.CapstoneMismatch("planted")),
    "room": (Arena, "claim", ArenaFull("planted")),
    "tables": (Library, "tables", MemoryError()),
    "interrupt": (os, "memfd_create", KeyboardInterrupt()),
}


@pytest.mark.parametrize(("plant", "own", "engine"), one_in(2, list(PLANTS), [False, True], ENGINES))
def test_a_machine_that_cannot_be_made_leaves_nothing_behind(
    library: Library, engine: EngineName, own: bool, plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the host refuses, at whichever place: first the 1st of its kind, then the 2nd..."""
    place, name, failure = PLANTS[plant]
    given = None if own else library
    one(engine, given)
    with no_collection():
        before, failed = held(), 0
        for allowed in range(100):
            countdown = Countdown(allowed, getattr(place, name), failure)
            with monkeypatch.context() as planted:
                planted.setattr(place, name, lambda *given, **named: countdown(*given, **named))  # noqa: B023 - a method too
                try:
                    one(engine, given)
                except BtError:
                    failed += 1
                except (MemoryError, KeyboardInterrupt):  # no answers of the host, and nobody's to translate
                    failed += 1
            if countdown.left >= 0:
                break
        more = growth(before, held())
    assert countdown.left >= 0
    assert failed or plant == "disassembler"  # an engine may have none
    assert more.descriptors == 0
    assert more.mapped_kib < 32 << 10
    one(engine, given)


def memory_kib() -> int:
    """What the process has in memory, by whatever mapping."""
    (line,) = (line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Rss:"))
    return int(line.split()[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_hundred_machines_share_a_library(library: Library, engine: EngineName) -> None:
    """Each has run the same guest with the same result; each costs little, and all of it comes back."""
    with machine(library, engine, POWERS) as first:
        first.run(max_insns=10_000)
        wanted = first.cpu.state["gpr", EAX]
    with no_collection():
        before, memory = held(), memory_kib()
        machines = [machine(library, engine, POWERS) for _ in range(100)]
        for each in machines:
            assert each.run(max_insns=10_000).instructions == 10_000
        assert {each.cpu.state["gpr", EAX] for each in machines} == {wanted}
        more, grown = growth(before, held()), memory_kib() - memory
        for each in machines:
            each.close()
        left = growth(before, held())
        kept = memory_kib() - memory
    assert more.descriptors <= 400  # of RAM and of video memory: the memfd, and what Python keeps for its mapping
    assert grown < 100 * 1024
    assert left.descriptors == 0
    assert left.mappings < 40  # Python's memory for objects, see below
    assert kept < 100 * 256  # Python's objects, until they are collected


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_of_code_goes_back_when_a_machine_is_closed(library: Library, engine: EngineName) -> None:
    """Also what was forgotten before: pieces that are with nobody."""
    with Machine(MachineConfig(memory=MEMORY, engine=engine), library=library) as guest:
        empty = code_kib(library)
        room = own_vcpu(guest.cpu).pieces(8)
        while room.grow():
            ctypes.memset(room.current + library.arena.write_base - library.arena.exec_base, 0x90, PIECE_BYTES)
        assert code_kib(library) - empty >= 7 * PIECE_BYTES >> 10
        room.shrink()
    assert code_kib(library) <= empty


def code_kib(library: Library) -> int:
    """What the library's arena has in memory, by the mapping that it is written through."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    wanted = f"{library.arena.write_base:x}-"
    for line in lines:
        if line.startswith(wanted):
            return next(int(field.split()[1]) for field in lines if field.startswith("Rss:"))
    raise AssertionError("the arena is not mapped")


def test_a_machine_that_finds_no_room_says_so(library: Library) -> None:
    before = held()
    with pytest.raises(BtError, match=r"arena bt-library: \d+ bytes asked"):
        Machine(MachineConfig(memory=MEMORY), library=library.replace(piece_bytes=library.arena.size))
    assert growth(before, held()).descriptors == 0
    one("bt", library)


def test_a_refused_configuration_costs_nothing() -> None:
    before = held()
    with pytest.raises(BadUsage):
        Machine(MachineConfig(cpu="pentium9"))
    assert growth(before, held()).descriptors == 0
