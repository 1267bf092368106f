"""Debian's installer kernel, unmodified: decompresses itself, prints its banner, and with its initrd runs a shell.

Needs `make guests`, as CI does; elsewhere the test says what is missing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bt.machine import EngineName, Machine, MachineConfig
from guest_images.third_party import locate

APPEND = "earlyprintk=ttyS0 console=ttyS0"
BANNER = "Linux version 6.1"
BANNER_LIMIT = 2_500_000_000  # instructions: the banner comes after 2.36 G, nearly all of them decompression
COMPARED = 2_600_000_000


SHELL = "rdinit=/bin/sh"
SHELL_LIMIT = 12_000_000_000  # instructions; the prompt comes after about 6 G
STEP = 100_000_000


def fetched(name: str) -> Path:
    path = locate(name)
    if path is None:
        assert "BT_REQUIRE_GUESTS" not in os.environ, f"{name} was fetched, and yet it is not found"
        pytest.skip(f"{name} is not here: make guests")
    return path


@pytest.fixture(scope="module")
def kernel() -> Path:
    return fetched("debian-12-linux")


def boot(kernel: Path, engine: EngineName, limit: int) -> tuple[str, int]:
    """Console output and instructions run, up to a limit."""
    output = bytearray()
    machine = Machine(MachineConfig(memory=128 << 20, engine=engine), serial=output.append)
    machine.load(kernel, append=APPEND)
    result = machine.run(max_insns=limit)
    machine.close()
    return output.decode(errors="replace"), result.instructions


def test_the_banner_appears_under_translation(kernel: Path) -> None:
    output, instructions = boot(kernel, "bt", BANNER_LIMIT)
    assert BANNER in output
    assert instructions == BANNER_LIMIT


@pytest.mark.slow
def test_both_engines_print_the_same(kernel: Path) -> None:
    assert boot(kernel, "bt", COMPARED) == boot(kernel, "interp", COMPARED)


@pytest.mark.slow
def test_a_shell_answers(kernel: Path) -> None:
    """User space under translation: BusyBox from the initrd reads a line from the serial port and does what it says."""
    output = bytearray()
    machine = Machine(MachineConfig(memory=512 << 20, engine="bt"), serial=output.append)
    machine.load(kernel, initrd=fetched("debian-12-initrd"), append=f"{APPEND} {SHELL}")

    def run_until(text: bytes) -> None:
        while text not in output:
            assert machine.cpu.instructions < SHELL_LIMIT, output[-500:].decode(errors="replace")
            machine.run(max_insns=STEP)

    run_until(b"~ # ")
    machine.com1.receive(b"echo $((6 * 7)) is the answer\n")
    run_until(b"42 is the answer")
    machine.close()
