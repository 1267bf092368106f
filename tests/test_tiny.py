"""The whole stack in seconds: run this before each commit."""

from __future__ import annotations

import pytest

import guest_images
from bt.machine import EngineName, Machine, MachineConfig

ENGINES: tuple[EngineName, ...] = ("interp", "bt")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("guest", ["hello", "fib-calls", "nano-syscall", "minikernel"])
def test_guest_says_what_it_should(guest: str, engine: EngineName) -> None:
    image = guest_images.image(guest)
    said = bytearray()
    machine = Machine(MachineConfig(engine=engine, memory=64 << 20), serial=said.append)
    machine.load(image.path)
    result = machine.run(timeout=30)
    assert said.decode("ascii") == image.transcript
    assert (result.reason, result.status) == ("exit", image.exit_status)
