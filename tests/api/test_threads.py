"""Several machines in threads of one process: each is by itself, and counts as if it were alone."""

from __future__ import annotations

import threading
import time

import pytest

from bt import End, Insns, Machine, Pattern, Result
from bt.engine.library.library import Library
from bt.errors import BadUsage
from bt.machine import EngineName
from tests.api.guest import ENGINES, machine

# each counts, writes what it is called to its serial port and stores into its code
SOURCE = """
    mov ecx, 2000
again:
    mov edx, 3f8h
    mov al, {letter}
    out dx, al
    mov byte [patched + 1], cl
patched:
    mov bl, 0
    add esi, ebx
    mov edi, 200000h
    add edi, ecx
    mov [edi], al
    loop again
    mov al, 0ah
    out dx, al
here: jmp here
"""


def _machines(library: Library, engine: EngineName, count: int) -> list[Machine]:
    return [machine(library, engine, SOURCE.format(letter=0x41 + number)) for number in range(count)]


def _outcome(pc: Machine, result: Result) -> tuple[object, ...]:
    return result.reason, result.instructions, pc.clock.now_ns, pc.reg.esi, pc.serial.output, pc.exits


@pytest.mark.parametrize("engine", ENGINES)
def test_each_is_by_itself(library: Library, engine: EngineName) -> None:
    alone = []
    for pc in _machines(library, engine, 4):
        with pc:
            alone.append(_outcome(pc, pc.run(until=Pattern(rb"\n"))))
    machines = _machines(library, engine, 4)
    results: dict[int, Result] = {}
    barrier = threading.Barrier(4)

    def run(number: int) -> None:
        barrier.wait()
        results[number] = machines[number].run(until=Pattern(rb"\n"))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [_outcome(pc, results[number]) for number, pc in enumerate(machines)]
    for pc in machines:
        pc.close()
    assert together == alone
    assert [reason for reason, *_ in together] == [End.UNTIL] * 4


def test_another_thread_asks(library: Library) -> None:
    """`ask` waits for the answer, raises what was raised, and finds its way where a run ends before it was asked."""
    with machine(library, "bt", "here: inc eax\n jmp here") as pc:
        assert pc.ask(lambda: pc.reg.eip) == pc.reg.eip, "nobody runs it"
        thread = threading.Thread(target=lambda: pc.run(timeout=60))
        thread.start()
        while not pc.is_running:
            time.sleep(0.001)
        first = pc.ask(lambda: pc.cpu.instructions)
        assert pc.ask(lambda: pc.cpu.instructions) > first
        with pytest.raises(ZeroDivisionError):
            pc.ask(lambda: 1 // 0)
        with pytest.raises(BadUsage, match="runs in another thread"):
            pc.run(max_insns=1)
        with pytest.raises(BadUsage, match="in another thread"):
            pc.mem.physical.u8[0] = 1
        pc.ask(lambda: pc.mem.physical.u8.__setitem__(0, 0x55))
        pc.stop()
        assert pc.ask(lambda: pc.mem.physical[0]) == 0x55
        thread.join()


def test_questions_around_the_end_of_runs(library: Library) -> None:
    """Runs come and go while another thread asks: each question is answered once."""
    with machine(library, "bt", "here: inc eax\n jmp here") as pc:
        answers = 0
        is_over = threading.Event()

        def ask() -> None:
            nonlocal answers
            while not is_over.is_set():
                pc.ask(lambda: None)
                answers += 1

        thread = threading.Thread(target=ask)
        thread.start()
        for _ in range(200):
            pc.run(limit=Insns(50_000))
        is_over.set()
        while thread.is_alive():
            pc.run(limit=Insns(50_000))
        thread.join()
        assert answers > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_pausing(library: Library, engine: EngineName) -> None:
    with machine(library, engine, "here: inc eax\n jmp here") as pc:
        pc.pause()
        results: list[Result] = []
        thread = threading.Thread(target=lambda: results.append(pc.run(max_insns=1_000_000)))
        thread.start()
        time.sleep(0.2)
        assert (results, pc.cpu.instructions, pc.is_paused, pc.is_running) == ([], 0, True, False)
        pc.resume()
        thread.join()
        assert (results[0].reason, results[0].instructions) == (End.MAX_INSNS, 1_000_000)
        pc.pause()
        assert pc.run(timeout=0.05).reason is End.TIMEOUT
