"""Everything that can end a run from outside: limits, Ctrl-C, a device that raises, areas that are full."""

from __future__ import annotations

import os
import signal
import threading

import pytest

import guest_images
from bt.engine import vcpu as interpreter
from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.engine.translator import vcpu as translator
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86.state import EAX
from guest_images.assembler import assemble

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
LONG = "n=100000000"
FLAT = 0x10000


class Broken(Exception):
    """What a faulty device raises."""


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


def machine(library: Library, engine: EngineName, name: str, append: str = "") -> tuple[Machine, bytearray]:
    output = bytearray()
    made = Machine(MachineConfig(memory=32 << 20, engine=engine), serial=output.append, library=library)
    made.load(guest_images.image(name).read(), append=append, name=name)
    return made, output


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("limit", [1, 2, 999, 1_000_003])
def test_an_instruction_limit_is_exact(library: Library, engine: EngineName, limit: int) -> None:
    guest, _ = machine(library, engine, "crc", LONG)
    result = guest.run(max_insns=limit)
    assert (result.reason, result.status, result.instructions) == ("max-insns", 4, limit)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_goes_on_where_it_was_stopped(library: Library, engine: EngineName) -> None:
    whole, output = machine(library, engine, "quicksort")
    expected = whole.run()
    parts, pieces = machine(library, engine, "quicksort")
    while (result := parts.run(max_insns=77_777)).reason == "max-insns":
        pass
    assert (result.reason, result.instructions, pieces) == (expected.reason, expected.instructions, output)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_time_limit_stops_a_guest_that_never_ends(library: Library, engine: EngineName) -> None:
    guest, _ = machine(library, engine, "crc", LONG)
    assert guest.run(timeout=0.1).reason == "timeout"


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_leaves_between_two_instructions(library: Library, engine: EngineName) -> None:
    guest, _ = machine(library, engine, "crc", LONG)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    result = guest.run(timeout=60)
    assert (result.reason, result.status) == ("interrupted", 130)
    assert guest.run(max_insns=10).reason == "max-insns"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stop_before_a_run_holds_for_that_run(library: Library, engine: EngineName) -> None:
    """A signal may come a moment before `run` is reached: it must not be lost, nor end more than one run."""
    guest, _ = machine(library, engine, "crc", LONG)
    for before in (0, 1000):
        guest.stop()
        guest.stop()
        result = guest.run(timeout=60)
        assert (result.reason, result.status, result.instructions) == ("interrupted", 130, before)
        assert guest.run(max_insns=1000).reason == "max-insns"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stop_is_for_the_run_it_came_in(library: Library, engine: EngineName) -> None:
    """Even if that run ended otherwise at the same moment."""
    guest, _ = machine(library, engine, "crc", LONG)
    guest.post(guest.stop)
    assert guest.run(max_insns=1).reason in ("max-insns", "interrupted")
    assert guest.run(max_insns=1000).reason == "max-insns"

    def fail() -> None:
        guest.stop()
        raise Broken

    guest.post(fail)
    with pytest.raises(Broken):
        guest.run(max_insns=1000)
    assert guest.run(max_insns=1000).reason == "max-insns"


HALTS_WITH_AN_INTERRUPT_PENDING = """
    mov al, 0x11                ; ICW1 to ICW4: vectors from 20h, master alone
    out 0x20, al
    mov al, 0x20
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xFE                ; IRQ 0 only
    out 0x21, al
    mov al, 0x30                ; counter 0, mode 0
    out 0x43, al
    mov al, 1
    out 0x40, al
    mov al, 0
    out 0x40, al
    mov ecx, 10000
wait:
    loop wait
    hlt
    mov eax, 1
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupt_does_not_end_hlt_while_if_is_clear(library: Library, engine: EngineName) -> None:
    guest = Machine(MachineConfig(memory=2 << 20, engine=engine), library=library)
    guest.load(assemble(HALTS_WITH_AN_INTERRUPT_PENDING, 32, FLAT), flat=FLAT)
    assert guest.run(max_insns=100_000).reason == "halted"
    assert guest.cpu.state["intr_pending"]
    assert guest.cpu.state["gpr", EAX] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_an_exception_in_a_device_reaches_the_caller(library: Library, engine: EngineName) -> None:
    """And the guest can go on: the instruction that touched the device has not happened yet."""
    guest, output = machine(library, engine, "hello")
    write, calls = guest.com1.write, []

    def fail_once(offset: int, size: int, value: int) -> None:
        calls.append(offset)
        if len(calls) == 3:
            raise Broken
        write(offset, size, value)

    guest.com1.write = fail_once  # type: ignore[method-assign]  # the fault under test
    with pytest.raises(Broken):
        guest.run()
    assert guest.run().reason == "exit"
    assert output == guest_images.image("hello").transcript.encode()


@pytest.mark.parametrize("engine", ENGINES)
def test_full_areas_are_emptied_and_the_guest_goes_on(
    library: Library, engine: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translator, "CACHE_PIECES", 2)
    monkeypatch.setattr(translator, "SITES", 400)
    monkeypatch.setattr(interpreter, "RECORDS", 300)
    monkeypatch.setattr(interpreter, "BLOCKS", 60)
    image = guest_images.image("minikernel")
    guest, output = machine(library.replace(piece_bytes=64 << 10), engine, "minikernel")
    flushes: list[int] = []
    flush = guest.cpu.flush

    def counted() -> None:
        flushes.append(guest.cpu.instructions)
        flush()

    monkeypatch.setattr(guest.cpu, "flush", counted)
    assert guest.run().status == image.exit_status
    assert output == image.transcript.encode()
    assert len(flushes) > 3


def test_machines_give_back_what_they_took(library: Library) -> None:
    """More machines one after the other than the library's arena could hold at once."""
    for _ in range(40):
        guest, output = machine(library, "bt", "hello")
        assert guest.run().reason == "exit"
        guest.close()
        assert output == guest_images.image("hello").transcript.encode()


def test_several_machines_in_one_process(library: Library) -> None:
    """Two guests on two threads: generated code shares nothing and releases the interpreter lock."""
    guests = [machine(library, "bt", "matmul", "n=20") for _ in range(2)]
    threads = [threading.Thread(target=guest.run) for guest, _ in guests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert guests[0][1] == guests[1][1] != b""
