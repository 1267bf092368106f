"""`bt diff IMAGE`: run a guest on two engines in lock step, or on one and QEMU, and find where they first differ."""

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
from bt.cli import begin, library, options
from bt.errors import BadUsage
from bt.inspect.code import Instruction
from bt.inspect.compare import ignored, qemu_stub, single_step
from bt.inspect.compare.lockstep import LockStep, Report
from bt.inspect.compare.peer import MachinePeer
from bt.inspect.compare.single_step import SingleStep

if TYPE_CHECKING:
    from rich.status import Status

ENGINES: tuple[machine.EngineName, ...] = ("interp", "bt")
QEMU_OPTIONS = ("after", "until", "ignore", "differences")
EPILOG = f"""\
Compares registers, hidden parts of segment registers and output every so many instructions, RAM and devices less
often, and finds the exact instruction after which the engines first differ. The guest's output is not shown.

With qemu as the second (--engines bt,qemu) an engine and {qemu_stub.PROGRAM} execute single instructions from the
same state, which QEMU gets from bt. What the processor shows is compared after each of them, all of RAM every so many
(--every, by default {single_step.RAM_PERIOD:,}). The engine leads: QEMU takes over what devices, time stamps and
CPUID answer, undefined flags, and the state after interrupts. PLACE is a linear address (0x7c00), or selector and
offset in hexadecimal (f000:fff0); NAMES are registers, flags, physical addresses of bytes, and `accessed` for the
accessed bits of descriptors and pages: accessed,rf,fstat,0x9002.

exit status: 0 no difference; 1 there is one; 2 bad usage or image, or no QEMU"""


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    image, initrd = options.chosen_image(given), options.chosen_initrd(given)
    judged = given.engines[1] == single_step.NAME
    if not judged and (useless := [name for name in QEMU_OPTIONS if getattr(given, name)]):
        raise BadUsage(f"--{useless[0]}: only with qemu, as in --engines bt,qemu")
    if judged:
        qemu_stub.require()
    library.load(options.chosen_cpu(given, image))  # a first start compiles here, with a progress bar

    def factory(engine: machine.EngineName) -> Callable[[], MachinePeer]:
        # QEMU's processor is gone after a reset (bt/inspect/compare/qemu_stub.py)
        config = machine.MachineConfig(
            memory=given.memory,
            cpu=options.chosen_cpu(given, image),
            engine=engine,
            tier=given.tier,
            no_reboot=judged,
        )
        return lambda: MachinePeer(
            config,
            lambda pc: pc.load(
                image, append=given.append, initrd=initrd, flat=given.flat, boot_sector=bool(given.boot_sector)
            ),
        )

    status, progress = _status()
    with status:
        if judged:
            reports = SingleStep(
                factory(given.engines[0]),
                advance=lambda pc: begin.advance(pc, given.after, given.until),
                limit=given.max_insns,
                every=given.every or single_step.RAM_PERIOD,
                ignore=given.ignore,
                progress=progress,
            ).run(given.differences or 1)
        else:
            left, right = map(factory, given.engines)
            reports = [LockStep(left, right, every=given.every, limit=given.max_insns, progress=progress).run()]
    show_all(reports, Console())
    return 0 if reports[0].identical else 1


def _parser() -> options.Parser:
    parser = options.Parser("bt diff", "Run a guest on two engines in lock step; stop where they differ.", EPILOG)
    options.add_guest(parser, machine.MachineConfig.memory)
    add = parser.add_argument
    add("--engines", metavar="A,B", type=_engines, default=ENGINES,
        help="what to compare: interp, bt; as the second also qemu (default interp,bt)")  # fmt: skip
    add("--max-insns", metavar="N", type=options.count, help="compare no more than N instructions")
    add("--every", metavar="N", type=options.count, help="instructions between comparisons (default: more and more)")
    options.add_tier(parser)
    begin.add(parser, "with qemu: ")
    add("--ignore", metavar="NAMES", type=_ignored, default=(), help="with qemu: what may differ")
    add("--differences", metavar="N", type=options.count, help="with qemu: go on with the engine's state, show N")
    return parser


def _engines(text: str) -> tuple[str, str]:
    first, comma, second = text.partition(",")
    if not comma or first not in ENGINES or second not in (*ENGINES, single_step.NAME):
        known = f"two of {', '.join(ENGINES)}, or one of them and {single_step.NAME}"
        raise ArgumentTypeError(f"{text!r}: give {known}, with a comma between them")
    return first, second


def _ignored(text: str) -> tuple[str, ...]:
    names = tuple(text.lower().split(","))
    for name in names:
        if name.startswith("0x"):
            options.address(name)
        elif name not in ignored.NAMES:
            raise ArgumentTypeError(f"{name!r} is none of {' '.join(sorted(ignored.NAMES))}, nor an address (0x1000)")
    return names


def _status() -> tuple[AbstractContextManager[Status | None], Callable[[str], None]]:
    """A line that shows how far it is, on a terminal only."""
    if not sys.stderr.isatty():
        return nullcontext(), lambda text: None
    status = Console(stderr=True).status("starting")
    return status, status.update


def show_all(reports: Sequence[Report], console: Console) -> None:
    """Print what came of a comparison that may have gone on after a difference."""
    for report in reports:
        if report is not reports[0]:
            console.print()
        show(report, console, again=report is not reports[0])


def show(report: Report, console: Console, again: bool = False) -> None:
    """Print what came of a comparison; `again`: there was a difference before."""
    verdict = _verdict(report)
    if again:
        verdict = verdict.replace(" first differ ", " differ again ").replace(" agree: ", " agree on the rest of: ")
    console.print(verdict, highlight=False, soft_wrap=True)
    if report.culprit is not None:
        console.print()
        console.print(_code(report, report.culprit))
    if not report.identical:
        console.print()
        console.print(_differences(report))
    if report.notes:
        console.print("", *report.notes, sep="\n", highlight=False, soft_wrap=True)


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
