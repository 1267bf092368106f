"""Machines whose idle time is the host's: how long they take, and that they do what they would do otherwise."""

from __future__ import annotations

import threading
import time

import pytest

from bt.end import End
from bt.machine import EngineName, Machine, MachineConfig
from bt.machine.loop import Mailbox
from guest_images.assembler import assemble
from tests.cli import code
from tests.console.guests import FIVE_SECONDS

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
ONE_SECOND = FIVE_SECONDS.replace("mov ecx, 91", "mov ecx, 19")
# Waits for a byte on COM1 by interrupt, with a timer of 18.2 Hz going, and ends with how many ticks there were.
INPUT = FIVE_SECONDS.replace("mov al, 0xfe\n", "mov al, 0xee\n").replace(
    "    mov ecx, 91\n    sti\nagain:\n    hlt\n    loop again\n    xor eax, eax\n",
    """
    mov edx, 0x3f9
    mov al, 1
    out dx, al
    mov edx, 0x3fc
    mov al, 8               ; OUT2: the interrupt's gate
    out dx, al
    xor ecx, ecx
    sti
again:
    hlt
    inc ecx
    mov edx, 0x3fd
    in al, dx
    test al, 1
    jz again
    mov eax, ecx
""",
).replace(
    "    .word tick - 0x100000, 0x8, 0x8e00, 0x10\n",
    "    .word tick - 0x100000, 0x8, 0x8e00, 0x10\n    .space 24\n    .word tick - 0x100000, 0x8, 0x8e00, 0x10\n",
).replace("0x107", "0x127")  # fmt: skip


def machine(source: str, engine: EngineName, *, is_paced: bool) -> Machine:
    made = Machine(MachineConfig(memory=16 << 20, engine=engine))
    made.load(assemble(source, 32, code.ADDRESS), flat=code.ADDRESS)
    made.is_paced = is_paced
    return made


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_lasts_a_second(engine: EngineName) -> None:
    found = {}
    for is_paced in (False, True):
        guest = machine(ONE_SECOND, engine, is_paced=is_paced)
        result = guest.run(timeout=60)
        assert result.reason is End.EXIT
        found[is_paced] = result.instructions, guest.clock.now_ns
        ns = guest.clock.now_ns
        assert 0.95 < ns / 1e9 < 1.05
        if is_paced:
            assert ns / 1e9 - 0.12 < result.seconds < ns / 1e9 + 5  # the host may be busy
    assert found[True] == found[False], "what it does is the same"


@pytest.mark.parametrize("engine", ENGINES)
def test_input_wakes_it_at_once_and_is_where_it_was_in_time(engine: EngineName) -> None:
    """A byte after half a second: the guest has counted half a second of ticks, and does not wait for the next."""
    guest = machine(INPUT, engine, is_paced=True)
    guest.input_open = True
    sent: list[int] = []

    def send() -> None:
        sent.append(guest.clock.now_ns)
        guest.com1.receive(b"x")

    threading.Timer(0.5, guest.post, (send,)).start()
    result = guest.run(timeout=60)
    assert result.reason is End.EXIT
    ticks = result.status >> 1
    assert abs(ticks - 1 - sent[0] // 54_925_400) <= 1
    assert guest.clock.now_ns - sent[0] < 1_000_000
    # the same moment of the guest's time, with nobody waiting: the same run
    again = machine(INPUT, engine, is_paced=False)
    again.clock.schedule(sent[0], lambda: again.com1.receive(b"x"))
    other = again.run(timeout=60)
    assert (other.status, other.instructions) == (result.status, result.instructions)


def test_a_busy_guest_never_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "mov ecx, 20000000\nagain:\nloop again\nxor eax, eax\nout 0xf4, al"
    guest = machine(source, "bt", is_paced=True)
    monkeypatch.setattr(Mailbox, "sleep", lambda self, seconds: pytest.fail("it slept"))
    assert guest.run().reason is End.EXIT


def test_a_stop_is_heard_while_it_sleeps() -> None:
    guest = machine(FIVE_SECONDS.replace("mov ecx, 91", "mov ecx, 9100"), "bt", is_paced=True)
    threading.Timer(0.3, guest.stop).start()
    start = time.monotonic()
    assert guest.run().reason is End.INTERRUPTED
    assert time.monotonic() - start < 5


def test_with_the_hosts_clock_it_is_no_matter() -> None:
    guest = Machine(MachineConfig(memory=16 << 20, clock="host"))
    assert guest.is_paced
    guest.is_paced = False
    assert guest.is_paced
