"""`bt diff IMAGE`: run a guest on two engines in lock step and find where they first differ."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bt import machine
from bt.cli import library, options
from bt.inspect.code import Instruction
from bt.inspect.lockstep import LockStep, Report
from bt.inspect.peer import MachinePeer, PeerFactory

if TYPE_CHECKING:
    from rich.status import Status

ENGINES: tuple[machine.EngineName, ...] = ("interp", "bt")
EPILOG = """\
Compares registers, hidden parts of segment registers and output every so many instructions, RAM and devices less
often, and finds the exact instruction after which the engines first differ. The guest's output is not shown.

exit status: 0 no difference; 1 the engines differ; 2 bad usage or image"""


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    image, initrd = options.chosen_image(given), options.chosen_initrd(given)
    library.load()  # a first start compiles here, with a progress bar

    def factory(engine: machine.EngineName) -> PeerFactory:
        config = machine.MachineConfig(memory=given.memory, cpu=given.cpu, engine=engine)
        return lambda: MachinePeer(
            config,
            lambda pc: pc.load(
                image, append=given.append, initrd=initrd, flat=given.flat, boot_sector=bool(given.boot_sector)
            ),
        )

    status, progress = _status()
    with status:
        comparison = LockStep(*map(factory, given.engines), every=given.every, limit=given.max_insns, progress=progress)
        report = comparison.run()
    show(report, Console())
    return 0 if report.identical else 1


def _parser() -> options.Parser:
    parser = options.Parser("bt diff", "Run a guest on two engines in lock step; stop where they differ.", EPILOG)
    options.add_guest(parser, machine.MachineConfig.memory)
    add = parser.add_argument
    add("--engines", metavar="A,B", type=_engines, default=ENGINES, help="what to compare (default interp,bt)")
    add("--max-insns", metavar="N", type=options.count, help="compare no more than N instructions")
    add("--every", metavar="N", type=options.count, help="instructions between comparisons (default: more and more)")
    return parser


def _engines(text: str) -> tuple[machine.EngineName, ...]:
    chosen = tuple(known for name in text.split(",") for known in ENGINES if known == name)
    if len(chosen) != 2 or text.count(",") != 1:
        raise ArgumentTypeError(f"{text!r}: give two of {', '.join(ENGINES)}, with a comma between them")
    return chosen


def _status() -> tuple[AbstractContextManager[Status | None], Callable[[str], None]]:
    """A line that shows how far it is, on a terminal only."""
    if not sys.stderr.isatty():
        return nullcontext(), lambda text: None
    status = Console(stderr=True).status("starting")
    return status, status.update


def show(report: Report, console: Console) -> None:
    """Print what came of a comparison."""
    console.print(_verdict(report), highlight=False, soft_wrap=True)
    if report.culprit is not None:
        console.print()
        console.print(_code(report, report.culprit))
    if not report.identical:
        console.print()
        console.print(_differences(report))


def _verdict(report: Report) -> str:
    both = " and ".join(report.names)
    if report.identical:
        how = f"; the guest ended: {report.ended}" if report.ended else ""
        return f"{both} agree: {report.instructions:,} instructions{how}"
    if report.culprit is None:
        return f"{both} differ before the first instruction."
    where = f"{both} first differ after instruction {report.instructions:,}"
    if report.unstopped is not None:
        start, end = report.unstopped
        return (
            f"{where}, if instructions {start + 1:,} to {end:,} run without a stop. Each piece alone is right: "
            f"what is wrong is how they are joined.\n{report.culprit.mode}:"
        )
    what = "the translation of a piece that ends with it" if report.piece else "it"
    return f"{where}, because of {what}.\n{report.culprit.mode}:"


def _code(report: Report, culprit: Instruction) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    suspects = {instruction.number for instruction in report.piece} | {culprit.number}
    for instruction in (*report.before, *report.piece[:-1], culprit):
        suspect = instruction.number in suspects
        table.add_row(
            Text(">" if suspect else " ", style="bold red"),
            Text(f"{instruction.number + 1:,}", style="dim"),
            instruction.place,
            Text(instruction.code.hex(" "), style="dim"),
            Text(instruction.text, style="bold" if suspect else ""),
        )
    return table


def _differences(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", *report.names):
        table.add_column(heading)
    for difference in report.differences:
        table.add_row(difference.what, Text(difference.left), Text(difference.right))
    return table
