"""What going back to a snapshot costs: `python -m benchmarks.snapshot [RUNS]`.

Claim: 5,000 pages that were written to since come back in under 5 ms of CPU time, with everything else of the machine.
One row a way in which a guest spreads its stores; beside it what copying as many bytes takes at best, in one piece.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from bt.cli import library
from bt.machine import Machine, MachineConfig
from bt.memory.ram import PAGE_SIZE
from guest_images.assembler import assemble

LIMIT_MS = 5.0
PAGES = 5_000
MEMORY, CODE, DATA = 128 << 20, 0x10_0000, 0x40_0000
RUNS = 15


@dataclass(frozen=True)
class Row:
    """`together` pages are written to, `apart` are not, and so on."""

    name: str
    together: int
    apart: int


ROWS = (
    Row("5,000 pages in one run", PAGES, 0),
    Row("eight at a time", 8, 8),
    Row("every other page", 1, 1),
)


def program(row: Row) -> bytes:
    """Writes to PAGES pages, then halts."""
    text = f"""
    mov edi, {DATA}
    mov edx, {PAGES // row.together}
group:
    mov ecx, {row.together}
page:
    mov [edi], ecx
    add edi, {PAGE_SIZE}
    dec ecx
    jnz page
    add edi, {row.apart * PAGE_SIZE}
    dec edx
    jnz group
    cli
    hlt
"""
    return assemble(text, 32, CODE)


@contextmanager
def machine(row: Row) -> Iterator[Machine]:
    """One whose RAM has been in use."""
    with Machine(MachineConfig(memory=MEMORY)) as made:
        made.ram.write(0, b"\xa5" * MEMORY)
        made.load(program(row), flat=CODE)
        yield made


def milliseconds(action: Callable[[], object]) -> float:
    """CPU time."""
    start = time.process_time()
    action()
    return 1e3 * (time.process_time() - start)


def measure(row: Row, runs: int) -> tuple[float, float, float]:
    """Medians: taking a snapshot, going back to it, copying as many bytes."""
    with machine(row) as made:
        taken = []
        for _ in range(3):
            start = time.process_time()
            snapshot = made.snapshot()
            taken.append(1e3 * (time.process_time() - start))
            snapshot.close()
        size = PAGES * PAGE_SIZE
        back, copied = [], []
        with made.snapshot() as snapshot:
            source = ctypes.create_string_buffer(size)
            for _ in range(runs):
                made.run()
                back.append(milliseconds(lambda: made.restore(snapshot)))
                copied.append(milliseconds(lambda: ctypes.memmove(made.ram.address + DATA, source, size)))
                made.ram.changed(DATA, size)
                made.restore(snapshot)
        return median(taken), median(back), median(copied)


def main(arguments: list[str]) -> int:
    """1 if a claim does not hold."""
    runs = int(arguments[0]) if arguments else RUNS
    library.load().close()  # built, where it has to be, before anything is measured
    print(f"{'pages written to':<28} {'take':>9} {'go back':>9} {'copy alone':>11}")
    late = False
    for row in ROWS:
        taken, back, copied = measure(row, runs)
        late |= back >= LIMIT_MS
        print(f"{row.name:<28} {taken:>6.1f} ms {back:>6.2f} ms {copied:>8.2f} ms{'  too slow' * (back >= LIMIT_MS)}")
    return int(late)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
