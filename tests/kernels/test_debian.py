"""Debian's installer kernel, unmodified: decompresses itself, prints its banner, and comes as far as the devices allow.

Needs `make guests`. CI fetches it; elsewhere the test says what is missing.
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


@pytest.fixture(scope="module")
def kernel() -> Path:
    path = locate("debian-12-linux")
    if path is None:
        assert "CI" not in os.environ, "CI must fetch the kernel: make guests"
        pytest.skip("Debian's kernel is not here: make guests")
    return path


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
