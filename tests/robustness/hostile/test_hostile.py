"""Guests of `guests.py`: the machine ends or goes on, in both engines alike, and the host loses nothing by it."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time

import pytest

from bt.engine.library.library import Library, load_library
from bt.machine import ClockMode, EngineName, Machine, MachineConfig
from guest_images.assembler import assemble
from tests.everyday import one_in
from tests.robustness.hostile.guests import ANY, GUESTS, ORIGIN, PRELUDE

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
MEMORY = 8 << 20
MOST_SECONDS = 60.0  # of the processor's time; they take less than one on a quiet host
MOST_GROWTH = 160 << 10  # KiB of resident memory: a translator has its areas
STORMS = [
    "timer at its fastest", "local timer at its fastest", "halts between ticks of the local timer",
    "a level nobody takes away", "interrupts itself", "sends without end", "page tables at random",
]  # fmt: skip


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


def machine(library: Library, engine: EngineName, name: str, clock: ClockMode = "icount") -> Machine:
    def sink(byte: int) -> None:
        pass

    config = MachineConfig(memory=MEMORY, engine=engine, clock=clock, bios="builtin")
    made = Machine(config, serial=sink, serial2=sink, console=sink, firmware_log=sink, library=library)
    made.load(assemble(PRELUDE + GUESTS[name].source, 32, ORIGIN), flat=ORIGIN, name=name)
    return made


@pytest.mark.parametrize("name", GUESTS)
def test_it_ends_or_goes_on(name: str, library: Library, request: pytest.FixtureRequest) -> None:
    guest = GUESTS[name]
    most = MOST_SECONDS * (3 if request.config.getoption("promote") else 1)  # a unit for each instruction it writes
    seen = []
    for engine in ENGINES:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        with machine(library, engine, name) as made:
            result = made.run(max_insns=guest.instructions)
            made.screen.text()
            made.screen.pixels()
            with made.snapshot() as snapshot:
                made.restore(snapshot)
            made.run(max_insns=100)
        assert result.reason in guest.ends
        assert time.process_time() - began < most
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH
        seen.append((result.reason, result.instructions, result.where))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("name", "engine", "clock"), one_in(4, list(STORMS), list(ENGINES), ["icount", "host"]))
def test_a_storm_can_be_stopped(name: str, engine: EngineName, clock: ClockMode, library: Library) -> None:
    with machine(library, engine, name, clock) as made:
        assert made.run(timeout=0.1).reason in ("timeout", *ANY - {"max-insns"})
    with machine(library, engine, name, clock) as made:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        try:
            reason = made.run(timeout=60).reason
        finally:
            timer.cancel()
        assert reason in ("interrupted", *ANY - {"max-insns"})
        assert time.monotonic() - began < 30


@pytest.mark.parametrize("engine", ENGINES)
def test_somebody_types_more_than_is_read(engine: EngineName, library: Library) -> None:
    """Keys, motion and bytes that no guest fetches are not kept."""
    with machine(library, engine, "halts with interrupts off") as made:
        made.run()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(20_000):
            made.keyboard.press("a")
            made.keyboard.release("a")
            made.mouse.move(number, -number)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10
