"""`bt run IMAGE`: run a guest until it ends, and exit with its status."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO, Unpack

from bt import __version__, machine
from bt.boot.files.medium import Medium
from bt.cli import console, devices, drives, library, options
from bt.cli.console import Sinks
from bt.end import End, statuses
from bt.errors import BadUsage

RESULT_SCHEMA = "bt.run/1"
EPILOG = """\
IMAGE is a built-in or fetched guest (see `bt images`), a multiboot or plain ELF file, or a Linux bzImage; gzip'ed, too.
On a terminal every key is the guest's, Ctrl-C too; Ctrl-A x stops, Ctrl-A c switches, Ctrl-A h lists the keys.

exit status (a signal that ends bt, SIGTERM or SIGHUP or the SIGPIPE of closed output, is none: the shell adds 128):
{statuses}

BT_DEBUG=1 to 5 in the environment shows on stderr what gets translated, in growing detail (docs/debugging.md)"""


def main(arguments: Sequence[str]) -> int:
    given = parser().parse_args(arguments)
    image, medium = chosen(given)
    with console.Console(given) as outside:
        record = _open_record(given.json) if given.json else None  # before the run: its result must not be lost
        pc = powered_on(given, image, medium, **outside.sinks())
        if os.environ.get("BT_DEBUG"):
            from bt.inspect.explanation import debug  # what disassembles is no part of an ordinary start

            debug.attach(pc, debug.level(), lambda line: print(line, file=sys.stderr))
        if given.log:
            from bt.cli import log

            log.attach(pc, given.log, given.log_file)
        if given.stats:
            pc.keep_accounts()
        with outside.attached(pc):
            result = pc.run(max_insns=given.max_insns, timeout=given.timeout)
    if record is not None:
        json.dump(_record(given, result), record, indent=1)
        record.write("\n")
        record.flush()
    if given.stats:
        from bt.cli.stats import show  # rich takes longer to import than a small guest to run

        show(result)
    if result.reason is End.TRIPLE_FAULT:
        from bt.inspect.fault_report import describe_triple_fault
        from bt.symbols.elf_symbols import Symbols

        symbols = Symbols(_contents(image) if image is not None and medium is None else b"")
        lines = describe_triple_fault(pc.cpu, result.fault_chain, symbols)
        print("bt:", "\n".join(lines), file=sys.stderr)
    elif result.reason.needs_a_word:
        detail = f": {result.detail}" if result.detail else ""
        print(f"bt: {result.reason.sentence} after {result.instructions:,} instructions{detail}", file=sys.stderr)
    return result.status


def powered_on(given: Namespace, image: Path | None, medium: Medium | None, **sinks: Unpack[Sinks]) -> machine.Machine:
    """The machine that a command line asks for, with what `chosen` says of it, about to start.

    `sinks`: who gets what its ports send, by the names that `Machine` has for them.
    """
    pc = machine.Machine(
        machine.MachineConfig(
            memory=given.memory,
            cpu=given.cpu,
            engine=given.engine,
            tier=given.tier,
            clock=console.chosen_clock(given),
            no_reboot=given.no_reboot,
            devices=devices.chosen_devices(given),
            graphics=not given.nographic,
            **drives.config_options(given, image, medium),
        ),
        library=library.load(),
        **sinks,
    )
    if drives.boots_firmware(image, medium):
        pc.boot()
    else:
        assert image is not None
        pc.load(
            image,
            append=given.append,
            initrd=options.chosen_initrd(given),
            flat=given.flat,
            boot_sector=bool(given.boot_sector),
        )
    return pc


def chosen(given: Namespace) -> tuple[Path | None, Medium | None]:
    """The guest that is named, and what kind of disk it is, if any."""
    image = None if _boots_by_itself(given) else options.chosen_image(given)
    return image, None if image is None or given.flat is not None or given.boot_sector else _medium(image)


def parser() -> options.Parser:
    parser = options.Parser("bt run", "Run a guest until it ends.", EPILOG.format(statuses="\n".join(_statuses())))
    options.add_guest(parser, machine.MachineConfig.memory)
    drives.add_options(parser)
    devices.add_options(parser)
    console.add_options(parser)
    add = parser.add_argument
    add("-e", "--engine", choices=("bt", "interp"), default="bt", help="translate (bt, the default) or interpret")
    options.add_tier(parser)
    add("--clock", choices=("icount", "host"),
        help="time from instructions (deterministic, the default) or the host's (default with a display)")  # fmt: skip
    add("-no-reboot", "--no-reboot", action="store_true", help="end when the guest resets the machine")
    add("--max-insns", metavar="N", type=options.count, help="stop after N instructions")
    add("--timeout", metavar="SECONDS", type=options.seconds, help="stop after that much time")
    add("-d", metavar="ITEMS", dest="log", help="log of the guest as QEMU's: int,cpu_reset,in_asm,exec,guest_errors")
    add("-D", metavar="FILE", dest="log_file", help="where it goes (default stderr)")
    add("--stats", action="store_true", help="show what the run cost, on stderr")
    add("--json", metavar="FILE", help="write the result there (- for stdout)")
    return parser


def _boots_by_itself(given: Namespace) -> bool:
    """No kernel is named: the machine starts its firmware."""
    return not (given.image or given.kernel or given.boot_sector) and bool(given.drives or given.bios)


def _medium(image: Path) -> Medium | None:
    """What kind of disk the image is, if any."""
    from bt.boot.files.medium import medium_of

    try:
        return medium_of(image)
    except OSError:
        return None  # the loader says what is wrong


def _contents(image: Path) -> bytes:
    """The image once more; nothing if somebody has taken it away."""
    try:
        return image.read_bytes()
    except OSError:
        return b""


def _statuses() -> Iterator[str]:
    for status, ends in statuses().items():
        shown = "odd" if status is None else str(status)
        yield f"{shown:>5}  {'; '.join(end.sentence for end in ends)}"


def _open_record(path: str) -> TextIO:
    if path == "-":
        return sys.stdout
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise BadUsage(f"--json {path}: {error.strerror}") from error


def _record(given: Namespace, result: machine.Result) -> dict[str, Any]:
    return {
        "schema": RESULT_SCHEMA,
        "version": __version__,
        "image": given.image or given.kernel or given.boot_sector,
        "append": given.append,
        "engine": given.engine,
        "cpu": given.cpu,
        "memory_bytes": given.memory,
        "reason": result.reason,
        "detail": result.detail,
        "fault_chain": [asdict(failure) for failure in result.fault_chain],
        "status": result.status,
        "instructions": result.instructions,
        "resets": result.resets,
        "host_cycles": result.host_cycles,
        "wall_seconds": result.seconds,
        "cpu_seconds": result.cpu_seconds,
        "exits": result.exits,
        "statistics": result.statistics,
        "refused": result.refused,
    }
