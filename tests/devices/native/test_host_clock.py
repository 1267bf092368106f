"""With `--clock host` native code tells the host's time, and Python the same."""

from __future__ import annotations

import struct
import time
from itertools import pairwise

import pytest

from bt.devices.pci.piix4_pm_native import TIMER_HZ
from bt.engine.library.library import load_library
from bt.machine import EngineName
from tests.devices.native.rig import ENGINES, RESULTS, Access, Run
from tests.devices.native.test_traffic import PM, more_devices

READS = 400
SLACK_TICKS = 4  # a run begins at a time that Python has read a little earlier: a microsecond


@pytest.mark.parametrize("engine", ENGINES)
def test_the_pm_timer_counts_the_host_s_time(engine: EngineName) -> None:
    """Every second read is Python's: native code reads the timer in one piece only."""
    library = load_library()
    traffic = [Access("in16" if n % 2 else "in32", PM + 8, loops=20_000) for n in range(READS)]
    run = Run.of(library, engine, traffic, native=True, clock="host", attach=more_devices)
    start = time.monotonic()
    assert run.go()
    seconds = time.monotonic() - start
    counts = [count & 0xFFFF for count in struct.unpack(f"<{READS}I", run.machine.ram.read(RESULTS, 4 * READS))]
    exits = run.machine.exits["io"]
    run.close()
    library.close()
    steps = [(later - earlier + SLACK_TICKS & 0xFFFF) - SLACK_TICKS for earlier, later in pairwise(counts)]
    assert min(steps) > 0, "time does not go back, whoever tells it"
    assert sum(steps) / TIMER_HZ < seconds
    assert exits == READS // 2 + 1
