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

from bt.engine.library.library import Library
from bt.errors import BadUsage, BtError
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86 import capstone_layout
from tests.api.guest import CODE, ENGINES, MEMORY

MACHINES = 50


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


@pytest.mark.parametrize("own", [False, True], ids=["shared library", "library of its own"])
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
    # the collector finds the Python objects, which is a few hundred KiB a machine; its tables have 2 MiB, areas 200
    assert more.mappings < MACHINES // 5
    assert more.mapped_kib < MACHINES * 512


@pytest.mark.parametrize("engine", ENGINES)
def test_machines_without_close_are_collected(library: Library, engine: EngineName) -> None:
    """And so is their room in the library, which has enough for 20."""
    gc.freeze()  # the tests themselves are a million objects, which need not be looked through each time
    for number in range(30):
        machine = Machine(MachineConfig(memory=MEMORY, engine=engine), library=library)
        if number == 0:
            before = held()
        del machine
        gc.collect()
    gc.unfreeze()
    assert growth(before, held()).descriptors <= 0


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
    "tables": (ctypes, "create_string_buffer", MemoryError()),
    "interrupt": (os, "memfd_create", KeyboardInterrupt()),
}


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("own", [False, True], ids=["shared library", "library of its own"])
@pytest.mark.parametrize("engine", ENGINES)
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
                planted.setattr(place, name, countdown)
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


def test_the_twenty_first_machine_of_a_library_says_so(library: Library) -> None:
    machines: list[Machine] = []
    before = held()
    try:
        with pytest.raises(BtError, match=r"arena bt-library: \d+ bytes asked"):
            machines += (Machine(MachineConfig(memory=MEMORY), library=library) for _ in range(100))
    finally:
        for machine in machines:
            machine.close()
    assert growth(before, held()).descriptors == 0
    one("bt", library)


def test_a_refused_configuration_costs_nothing() -> None:
    before = held()
    with pytest.raises(BadUsage):
        Machine(MachineConfig(cpu="pentium9"))
    assert growth(before, held()).descriptors == 0
