"""Whole guests in tier 2: results, instruction counts, what the code accesses, what lives beside a view."""

from __future__ import annotations

import ctypes
import faulthandler
import subprocess
import sys

import pytest

import guest_images
from bt.engine.library.library import Library
from bt.engine.library.shared import shared_library
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from tests.engine.identity.operands import check_operands

GUESTS = {
    "sieve": "n=1 size=4096",
    "crc": "n=1",
    "quicksort": "n=1 size=300",
    "switch": "n=30",
    "fib-calls": "n=1",
    "mandel-x87": "n=1 size=8",
    "nbody-x87": "n=100",
    "nbody-sse2": "n=100",
    "memcpy-sse": "n=1 size=65536",
}
MIB = 1 << 20


def machine(library: Library, engine: EngineName, tier: TierName, guest: str, out: bytearray) -> Machine:
    made = Machine(MachineConfig(memory=32 * MIB, engine=engine, tier=tier), serial=out.append, library=library)
    made.load(guest_images.image(guest).path, append=GUESTS[guest])
    return made


def run(engine: EngineName, tier: TierName, guest: str, limits: tuple[int, ...] = ()) -> tuple[bytes, int, list[int]]:
    """Output, instructions, EIP at each limit."""
    out, stops = bytearray(), []
    with machine(shared_library(), engine, tier, guest, out) as made:
        for limit in limits:
            made.run(max_insns=limit)
            stops.append(made.cpu.state["eip"])
        result = made.run()
        return bytes(out), result.instructions, stops


def units(made: Machine) -> int:
    return made.cpu.statistics()["units_made"]


@pytest.mark.parametrize("guest", GUESTS)
def test_counts_and_results_are_those_of_the_interpreter(guest: str) -> None:
    limits = (1500, 501, 77, 1000, 3)
    wanted = run("interp", "1", guest, limits)
    assert run("bt", "2", guest, limits) == wanted
    assert run("bt", "1", guest, limits) == wanted


@pytest.mark.parametrize("guest", ["crc", "mandel-x87", "nbody-x87", "nbody-sse2"])
def test_nearly_everything_runs_in_units(guest: str) -> None:
    out = bytearray()
    with machine(shared_library(), "bt", "2", guest, out) as made:
        result = made.run()
        assert made.cpu.statistics()["unit_insns"] > 0.9 * result.instructions


def test_nothing_leaves_its_view() -> None:
    seen = 0
    for guest in GUESTS:
        with machine(shared_library(), "bt", "2", guest, bytearray()) as made:
            made.run()
            cpu = made.cpu
            assert isinstance(cpu, TranslatingVcpu)
            assert cpu.identity is not None
            seen += check_operands(cpu.identity.emitted())
    assert seen > 500


def test_a_snapshot_comes_back_with_a_view_live() -> None:
    out = bytearray()
    with machine(shared_library(), "bt", "2", "sieve", out) as made:
        made.run(max_insns=20_000)
        assert units(made)
        snapshot, before = made.snapshot(), len(out)
        first = made.run()
        said = bytes(out[before:])
        assert made.cpu.statistics()["pages_opened"] > 0  # the log has begun anew: first stores are noted
        made.restore(snapshot)
        del out[before:]
        again = made.run()
        assert (bytes(out[before:]), again.instructions) == (said, first.instructions)


def test_the_address_line_and_remaps_close_and_change_it() -> None:
    with machine(shared_library(), "bt", "2", "sieve", bytearray()) as made:
        made.run(max_insns=20_000)
        cpu = made.cpu
        assert cpu.state["view_open"]
        cpu.set_a20(False)
        assert not cpu.state["view_open"]
        cpu.set_a20(True)
        assert cpu.state["view_open"]
        view = cpu.state["view"]
        for at in (20 * MIB, 24 * MIB):
            made.memory.remove(at, MIB)
        made.memory.add_ram(24 * MIB, MIB, 20 * MIB)
        made.memory.add_ram(20 * MIB, MIB, 24 * MIB)
        made.ram.write(20 * MIB, b"there")
        assert ctypes.string_at(view + 24 * MIB, 5) == b"there"


def test_a_handler_installed_later_is_put_behind_ours() -> None:
    out = bytearray()
    with machine(shared_library(), "bt", "2", "sieve", out) as made:
        made.run(max_insns=20_000)
        snapshot = made.snapshot()  # protects all pages, so that faults come
        was_enabled = faulthandler.is_enabled()
        faulthandler.disable()
        faulthandler.enable()
        try:
            made.run()
        finally:
            if not was_enabled:
                faulthandler.disable()
        assert made.cpu.statistics()["unit_faults"] > 0
        snapshot.close()


_CRASH = """
import ctypes
from tests.engine.identity.test_guests import machine
from bt.engine.library.shared import shared_library
made = machine(shared_library(), "bt", "2", "crc", bytearray())
made.run()
ctypes.string_at(8)
"""


def test_a_crash_of_pythons_own_is_still_one() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _CRASH], capture_output=True, text=True, check=False
    )
    assert done.returncode == -11
    assert "Segmentation fault" in done.stderr
    assert "string_at" in done.stderr
