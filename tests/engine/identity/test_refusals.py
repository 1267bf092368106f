"""What the host may refuse: the guest then runs in tier 1, with the same result, and `--stats` says so in a line."""

from __future__ import annotations

import subprocess
import sys
from typing import NoReturn

import pytest

from bt.engine.identity import tier
from bt.engine.library.library import Library
from bt.engine.library.shared import shared_library
from bt.errors import BadUsage
from bt.host.faults import FAULTS
from bt.host.reserved import Refused, Reserved
from bt.machine import Result
from tests.engine.identity.test_guests import machine, run

GUEST = "sieve"


def refused(library: Library) -> Result:
    """Have the guest run in tier 1 in the end, with the right result."""
    out = bytearray()
    with machine(library, "bt", "2", GUEST, out) as made:
        result = made.run()
    assert (bytes(out), result.instructions, []) == run("bt", "1", GUEST)
    assert result.refused
    return result


def refuse(*given: object, **named: object) -> NoReturn:
    raise Refused("the host refuses so many mappings")


def test_no_base_of_gs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier, "has_gs_base", lambda: False)
    result = refused(shared_library())
    assert result.refused == "the host has no FSGSBASE"
    assert not result.statistics["units_made"]


@pytest.mark.parametrize("what", ["map", "protect"])
def test_too_many_mappings_from_the_start(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(Reserved, what, refuse)
    refused(shared_library())


def test_no_room_for_code() -> None:
    assert "room" in refused(shared_library().replace(reserved_bytes=1 << 40)).refused


def test_no_page_for_the_signal_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_registry(handler: bytes) -> NoReturn:
        raise BadUsage("a page for a signal handler: the host refuses to run it")

    monkeypatch.setattr(FAULTS, "registry", no_registry)
    assert "signal handler" in refused(shared_library()).refused


def test_a_remap_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    out = bytearray()
    with machine(shared_library(), "bt", "2", GUEST, out) as made:
        made.run(max_insns=20_000)
        assert made.cpu.state["view_open"]
        monkeypatch.setattr(Reserved, "map", refuse)
        made.memory.remove(24 << 20, 1 << 20)
        made.memory.add_ram(24 << 20, 1 << 20, 24 << 20)
        assert not made.cpu.state["view_open"]
        result = made.run()
    assert (bytes(out), result.instructions, []) == run("bt", "1", GUEST)
    assert result.refused


_LIMITED = """
import resource
from bt.cli.main import main
with open("/proc/self/statm") as pages:
    now = int(pages.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (16 << 30),) * 2)
raise SystemExit(main(["run", "crc", "--tier", "2", "--stats"]))
"""


def test_no_addresses() -> None:
    """16 GiB are enough for all but the branch table."""
    done = subprocess.run([sys.executable, "-c", _LIMITED], capture_output=True, text=True, check=False)
    assert "result=" in done.stdout, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("no tier 2"))
    assert "the host refuses 32 GiB of addresses" in line


_FEW_MAPPINGS = """
import mmap
from bt.engine.library.shared import shared_library
from bt.machine import Machine
from tests.engine.identity.test_guests import machine, run
wanted = run("bt", "1", "sieve")
out = bytearray()
with machine(shared_library(), "bt", "2", "sieve", out) as made:
    made.run(max_insns=20_000)
    assert made.cpu.state["view_open"]
    made.snapshot()  # all pages are protected, and opened one by one
    taken = []
    try:
        while True:
            taken.append(mmap.mmap(-1, mmap.PAGESIZE, prot=(mmap.PROT_READ, mmap.PROT_WRITE)[len(taken) & 1]))
    except OSError:
        for each in taken[-1:]:
            each.close()
    result = made.run()
    print(bytes(out) == wanted[0], result.instructions == wanted[1], result.refused)
"""


def test_too_many_mappings_later() -> None:
    done = subprocess.run([sys.executable, "-c", _FEW_MAPPINGS], capture_output=True, text=True, check=False)
    assert done.stdout == "True True the host refuses so many mappings\n", done.stderr
