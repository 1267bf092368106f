"""What is closed says so, whoever uses it; what is in use says so too."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.engine.vcpu import Vcpu
from bt.errors import BadUsage, Closed
from bt.machine import EngineName, Machine
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86.state import CS, EAX
from tests.api.guest import CODE, ENGINES, machine

IMAGE = b"\xeb\xfe"
Use = Callable[[Machine], object]
USES: dict[str, Use] = {
    "run": lambda m: m.run(max_insns=10),
    "load": lambda m: m.load(IMAGE, flat=CODE),
    "post": lambda m: m.post(lambda: None),
    "enter": lambda m: m.__enter__(),
    "port latch": lambda m: m.ports.write(0x80, 1, 1),
    "A20": lambda m: m.ports.write(0x92, 1, 2),
    "ram.read": lambda m: m.ram.read(CODE, 1),
    "ram.write": lambda m: m.ram.write(CODE, b"x"),
    "ram.changed": lambda m: m.ram.changed(CODE, 1),
    "ram.view": lambda m: m.ram.view[0],
    "cpu.run": lambda m: m.cpu.run(10),
    "cpu.flush": lambda m: m.cpu.flush(),
    "cpu.call": lambda m: m.cpu.call("flush_tlb", 1),
    "cpu.complete": lambda m: m.cpu.complete(0),
    "cpu.interrupt": lambda m: m.cpu.interrupt(0x20),
    "cpu.nmi": lambda m: m.cpu.nmi(),
    "cpu.statistics": lambda m: m.cpu.statistics(),
    "cpu.instructions": lambda m: m.cpu.instructions,
    "cpu.interrupts_enabled": lambda m: m.cpu.interrupts_enabled,
    "cpu.control": lambda m: m.cpu.control("blocks_made"),
    "cpu.set_control": lambda m: m.cpu.set_control("block_limit", 1),
    "cpu.state": lambda m: m.cpu.state["gpr", EAX],
    "cpu.state =": lambda m: m.cpu.state.__setitem__(("gpr", EAX), 1),
    "cpu.state.segment": lambda m: m.cpu.state.segment(CS, "base"),
    "cpu.state.set_segment": lambda m: m.cpu.state.set_segment(CS, "base", 0),
    "cpu.state.view": lambda m: m.cpu.state.view[0],
}
ONLY_TRANSLATOR: dict[str, Use] = {"cpu.callouts": lambda m: m.cpu.callouts()}


@pytest.mark.parametrize("engine", ENGINES)
def test_use_after_close(library: Library, engine: EngineName) -> None:
    """Each in turn: the host's memory is gone, and nothing may go on using it."""
    guest = machine(library, engine)
    guest.run(max_insns=1000)
    guest.close()
    for name, use in (USES | (ONLY_TRANSLATOR if engine == "bt" else {})).items():
        with pytest.raises(Closed, match="closed"):
            pytest.fail(f"{name}: {use(guest)}")


def test_closing_twice_and_stopping_what_is_closed_is_fine(library: Library) -> None:
    guest = machine(library)
    guest.close()
    guest.close()
    guest.stop()  # as from a timer that was too late


@pytest.mark.parametrize("engine", ENGINES)
def test_a_machine_is_a_context_manager(library: Library, engine: EngineName) -> None:
    with machine(library, engine) as guest:
        assert guest.run(max_insns=10).reason == "max-insns"
    with pytest.raises(Closed, match="this machine is closed: make a new one"):
        guest.run(max_insns=10)
    with pytest.raises(ZeroDivisionError), machine(library, engine) as guest:
        raise ZeroDivisionError
    with pytest.raises(Closed):
        guest.run(max_insns=10)


def test_others_go_on_when_one_is_closed(library: Library) -> None:
    first, second = machine(library), machine(library)
    first.run(max_insns=1000)
    second.run(max_insns=1000)
    first.close()
    assert second.run(max_insns=1000).instructions == 2000
    second.close()


def test_memory_is_not_closed_below_a_processor(library: Library) -> None:
    ram = GuestRam(1 << 20)
    cpu = Vcpu(library, PhysicalMap(ram))
    with pytest.raises(BadUsage, match="guest RAM: a processor still runs on it; close that first"):
        ram.close()
    cpu.flush()
    cpu.close()
    ram.close()
    with pytest.raises(Closed, match="guest RAM: closed"):
        Vcpu(library, PhysicalMap(ram))


def test_a_forgotten_processor_does_not_keep_memory(library: Library) -> None:
    ram = GuestRam(1 << 20)
    Vcpu(library, PhysicalMap(ram))
    ram.close()


def test_a_library_is_not_closed_below_a_processor() -> None:
    library = load_library()
    guest = machine(library)
    with pytest.raises(BadUsage, match="bt-library: in use by a processor: close that first"):
        library.close()
    assert guest.run(max_insns=10).reason == "max-insns"
    guest.close()
    library.close()
    library.close()
    with pytest.raises(Closed, match="bt-library: closed"):
        machine(library)


def test_views_of_a_closed_machine_stay_readable(library: Library) -> None:
    """They keep their memory; what the machine handed out itself is gone at once."""
    guest = machine(library)
    whole, piece, state = guest.ram.view, guest.ram.view[CODE : CODE + 2], guest.cpu.state.view
    guest.close()
    assert bytes(piece) == IMAGE
    assert len(bytes(state)) == len(state)
    with pytest.raises(ValueError, match="released"):
        whole[0]


# -- while it runs ----------------------------------------------------------------------------------------------------

RUNNING_USES: dict[str, Use] = {
    "run": lambda m: m.run(max_insns=10),
    "load": lambda m: m.load(IMAGE, flat=CODE),
    "close": lambda m: m.close(),
    "cpu.close": lambda m: m.cpu.close(),
    "ram.close": lambda m: m.ram.close(),
}
FROM_OTHER_THREADS: dict[str, Use] = {
    "ram.write": lambda m: m.ram.write(CODE, b"\x90"),
    "ram.changed": lambda m: m.ram.changed(CODE, 1),
    "cpu.flush": lambda m: m.cpu.flush(),
    "cpu.call": lambda m: m.cpu.call("flush_tlb", 1),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_another_thread_is_kept_out_while_it_runs(library: Library, engine: EngineName) -> None:
    guest, results = machine(library, engine), []
    started = threading.Event()
    guest.post(started.set)
    thread = threading.Thread(target=lambda: results.append(guest.run(timeout=60)))
    thread.start()
    assert started.wait(60)
    try:
        before = guest.ram.read(CODE, 2)  # reading is always fine
        for name, use in (RUNNING_USES | FROM_OTHER_THREADS).items():
            with pytest.raises(BadUsage, match=r"runs in another thread: stop\(\) it|Machine.post"):
                pytest.fail(f"{name}: {use(guest)}")
        assert guest.ram.read(CODE, 2) == before == IMAGE
        written = threading.Event()
        guest.post(lambda: guest.ram.write(CODE + 16, b"\x90"))
        guest.post(written.set)
        assert written.wait(60)
    finally:
        guest.stop()
        thread.join(60)
    assert [result.reason for result in results] == ["interrupted"]
    assert guest.run(max_insns=10).reason == "max-insns"
    guest.close()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", RUNNING_USES)
def test_a_device_cannot_run_load_or_close(library: Library, engine: EngineName, name: str) -> None:
    with machine(library, engine) as guest:

        def use() -> None:
            RUNNING_USES[name](guest)

        guest.post(use)
        with pytest.raises(BadUsage, match="is running: not from inside of run"):
            guest.run(max_insns=1000)
        assert guest.run(max_insns=10).reason == "max-insns"


FORGOTTEN = """
import threading
from bt.machine import Machine, MachineConfig
machine = Machine(MachineConfig(memory=4 << 20))
machine.load(b"\\xeb\\xfe", flat=0x100000)
thread = threading.Thread(target=machine.run, kwargs={"timeout": 60}, daemon=True)
thread.start()
"""


def test_the_interpreter_may_end_while_a_machine_runs() -> None:
    done = subprocess.run([sys.executable, "-c", FORGOTTEN], capture_output=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
