"""`make demo`: a small kernel, then computing, under both engines, side by side."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

import guest_images
from bt.cli import library
from bt.engine.library.library import Library
from bt.machine import EngineName, Machine, MachineConfig, Result

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
SHOWS = (("minikernel", ""), ("sieve", "n=100"), ("fib-calls", "n=500"))
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Performance:
    """What a guest said under an engine, and what that took."""

    transcript: str
    result: Result


def perform(guest: str, append: str, engine: EngineName, native: Library) -> Performance:
    said = bytearray()
    machine = Machine(MachineConfig(engine=engine), serial=said.append, library=native)
    machine.load(guest_images.image(guest).path, append=append)
    result = machine.run(timeout=TIMEOUT_SECONDS)
    return Performance(said.decode("ascii"), result)


def main() -> int:
    native = library.load()
    console = Console()
    table = Table(box=None, pad_edge=False)
    for heading in ("guest", "engine", "instructions", "seconds", "million/s", "faster"):
        table.add_column(heading, justify="left" if heading in ("guest", "engine") else "right")
    same = True
    for guest, append in SHOWS:
        runs = {engine: perform(guest, append, engine, native) for engine in ENGINES}
        first, *others = runs.values()
        if guest == SHOWS[0][0]:
            console.print(
                f"[bold]{guest}[/bold], a kernel of {guest_images.image(guest).path.stat().st_size:,} bytes:\n"
            )
            console.print(first.transcript, markup=False, highlight=False, soft_wrap=True)
        for engine, run in runs.items():
            seconds, instructions = run.result.seconds, run.result.instructions
            faster = f"{first.result.seconds / seconds:.1f}x" if run is not first else ""
            cells = (f"{instructions:,}", f"{seconds:.3f}", f"{instructions / seconds / 1e6:.0f}", faster)
            table.add_row(f"{guest} {append}" if run is first else "", engine, *cells, end_section=run is others[-1])
        if any(run.transcript != first.transcript or run.result.instructions != first.result.instructions
               for run in others):  # fmt: skip
            print(f"demo: {guest}: the engines differ, which is a bug", file=sys.stderr)
            same = False
    console.print(table)
    if same:
        console.print("\nSame words and the same number of instructions under both engines.")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
