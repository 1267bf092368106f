"""What many machines in one process cost: `python -m benchmarks.machines`.

Claims: of 100 idle machines each costs under 1 MB and is made in under 2 ms (the median), under both engines. A row is
a process of its own, which has made and closed one machine before it begins to count; "idle" machines have run nothing,
"hello" ones have run that guest to its end and are still there. At the end all are closed, and what memory has not come
back by then, Python's objects among it, is shown.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple, get_args

import guest_images
from bt.cli import library
from bt.machine import EngineName, Machine, MachineConfig

LIMIT_MB, LIMIT_MS = 1.0, 2.0
MANY = 100
GUESTS = ("idle", "hello")


class Held(NamedTuple):
    """What a process has of the host's. Memory in MB."""

    resident: float
    mapped: float
    descriptors: int
    mappings: int

    @classmethod
    def now(cls) -> Held:
        own = Path("/proc/self")
        status = dict(line.split(":") for line in (own / "status").read_text().splitlines())
        resident, mapped = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmSize"))
        descriptors = len(list((own / "fd").iterdir()))
        return cls(resident, mapped, descriptors, (own / "maps").read_text().count("\n"))

    def since(self, before: Held) -> Held:
        return Held(
            self.resident - before.resident,
            self.mapped - before.mapped,
            self.descriptors - before.descriptors,
            self.mappings - before.mappings,
        )


class Figures(NamedTuple):
    """What so many machines cost, and what is left of that when they are closed."""

    machines: int
    milliseconds: float  # to make one: the median
    more: Held
    left: Held


def make(engine: EngineName, guest: str) -> tuple[Machine, float]:
    """A machine, and the milliseconds that making it took; it has run the guest."""
    said = bytearray()
    start = time.perf_counter()
    machine = Machine(MachineConfig(engine=engine), serial=said.append)
    milliseconds = (time.perf_counter() - start) * 1e3
    if guest != "idle":
        machine.load(guest_images.image(guest).path)
        machine.run()
        assert b"Hello, world" in said, said
    return machine, milliseconds


def measure(engine: EngineName, guest: str, count: int) -> Figures:
    make(engine, guest)[0].close()
    before = Held.now()
    made = [make(engine, guest) for _ in range(count)]
    more = Held.now().since(before)
    for machine, _ in made:
        machine.close()
    return Figures(count, median(milliseconds for _, milliseconds in made), more, Held.now().since(before))


def rows() -> Iterator[tuple[EngineName, str, Figures]]:
    for engine in get_args(EngineName):
        for guest in GUESTS:
            for count in (1, MANY):
                command = [sys.executable, "-m", "benchmarks.machines", engine, guest, str(count)]
                machines, milliseconds, more, left = json.loads(subprocess.check_output(command))
                yield engine, guest, Figures(machines, milliseconds, Held(*more), Held(*left))


def main() -> int:
    if len(sys.argv) > 1:
        print(json.dumps(measure("bt" if sys.argv[1] == "bt" else "interp", sys.argv[2], int(sys.argv[3]))))
        return 0
    library.load()  # compiles it where that has not been done
    headings = ("memory", "mapped", "descriptors", "mappings", "made in", "memory left")
    print(f"{'engine':7}{'guest':7}{'machines':>8}" + "".join(f"{heading:>13}" for heading in headings))
    missed = False
    for engine, guest, (count, milliseconds, more, left) in rows():
        print(
            f"{engine:7}{guest:7}{count:8}{more.resident:10.1f} MB{more.mapped:10,.0f} MB"
            f"{more.descriptors:13}{more.mappings:13}{milliseconds:10.2f} ms{left.resident:10.1f} MB"
        )
        if guest == "idle" and count == MANY:
            missed |= more.resident > LIMIT_MB * count or milliseconds > LIMIT_MS
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
