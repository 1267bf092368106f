"""Machines that were not given a library share the process's: one, whoever makes them, and never across a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bt.engine.library import shared
from bt.engine.library.library import Library, load_library
from bt.errors import BadUsage
from bt.machine import Machine, MachineConfig
from tests.api.guest import CODE, ENGINES, MEMORY


def made() -> Machine:
    return Machine(MachineConfig(memory=MEMORY))


def test_machines_share_one_library_which_outlives_them() -> None:
    with made() as first, made() as second:
        assert first.library is second.library
    with made() as third:
        assert third.library is first.library


def test_a_library_that_was_given_is_used_and_left_alone() -> None:
    own = load_library()
    with Machine(MachineConfig(memory=MEMORY), library=own) as guest, made() as other:
        assert guest.library is own
        assert other.library is not own
    assert not own.closed
    own.close()


def test_the_shared_library_can_be_closed_when_nobody_uses_it() -> None:
    with made() as guest, pytest.raises(BadUsage, match="in use by a processor"):
        guest.library.close()
    guest.library.close()
    with made() as another:
        assert another.library is not guest.library
        another.load(b"\xeb\xfe", flat=CODE)
        assert another.run(max_insns=1000).instructions == 1000


def test_threads_that_begin_at_once_load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Library] = []

    def slowly() -> Library:
        loaded.append(load_library())
        return loaded[-1]

    monkeypatch.setattr(shared, "load_library", slowly)
    monkeypatch.setattr(shared, "_SHARED", shared._Shared())
    barrier = threading.Barrier(8)

    def use(_: int) -> int:
        barrier.wait()
        with made() as guest:
            guest.load(b"\xeb\xfe", flat=CODE)
            return guest.run(max_insns=100_000).instructions

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(use, range(8))) == [100_000] * 8
    assert len(loaded) == 1
    loaded[0].close()


def test_a_library_that_cannot_be_loaded_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_SHARED", shared._Shared())
    with monkeypatch.context() as planted:
        planted.setattr(shared, "load_library", lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            made()
    with made() as guest:
        guest.load(b"\xeb\xfe", flat=CODE)
    guest.library.close()


FORKING = """
import os, sys, threading
from bt.engine.library import shared
from bt.machine import Machine, MachineConfig
from guest_images.assembler import assemble

ADD = "again: add eax, {}\\ncall other\\njmp again\\nother: ret"

def run(number):
    with Machine(MachineConfig(memory=4 << 20, engine=sys.argv[1])) as machine:
        machine.load(assemble(ADD.format(number), 32, 0x100000), flat=0x100000)
        for _ in range(200):
            machine.run(max_insns=4_000)
        return machine.cpu.state["gpr", 0], machine.library.arena.write_base

mine = run(1)
shared._SHARED._lock.acquire()  # as another thread may at that moment
child = os.fork()
if child:
    shared._SHARED._lock.release()
answer = run(3 if child else 7)[0]
assert answer == (3 if child else 7) * 200_000, answer
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("right")
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_after_a_fork_each_process_has_its_own(engine: str) -> None:
    """Both would write their code into the same memory, which the arena's two mappings share."""
    command = [sys.executable, "-c", FORKING, engine]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["right", "right"]
