"""`bt-qemu ...`: a command line of qemu-system-i386 as it stands, with QEMU's defaults and exit statuses."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace

from bt import __version__
from bt.cli import console, drives, run
from bt.cli.main import ended
from bt.end import End

PROGRAM = "bt-qemu"
# tools read the number: it is that of the QEMU whose options are taken here
VERSION = f"QEMU emulator version 7.2.0 (bt {__version__}, which takes QEMU's command line)"
# QEMU's own: whatever ends a guest that has run is no failure
STATUSES = {End.BAD_USAGE: 1, End.INTERRUPTED: 0, End.PANIC: 0, End.RESET: 0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name); the exit status for the shell."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    return ended(lambda: _run(words), PROGRAM, STATUSES[End.BAD_USAGE], _terminated)


def _run(words: list[str]) -> int:
    if words[:1] in (["-version"], ["--version"]):
        print(VERSION)
        return 0
    given = run.parser(PROGRAM).parse_args(words, Namespace(triple_fault="reset", rtc="base=utc"))
    as_qemu_has_it(given)
    result = run.execute(given, stays_halted=True)
    return STATUSES.get(result.reason, result.status)


def as_qemu_has_it(given: Namespace) -> None:
    """Put QEMU's defaults where the command line says nothing."""
    if given.image is not None:
        given.drives = [*given.drives, replace(drives.SHORT["-hda"], file=given.image)]
        given.image = None
    given.boots_firmware = True
    if given.serial is None and not given.no_defaults and not given.nographic:
        is_stdio_taken = _is_stdio_named(given)
        if given.display is None and not is_stdio_taken and _is_a_screen_to_be_had():
            given.display = console.TERMINAL
        # where the screen is, and with it the serial port in QEMU: nobody sees what is in a window that there is not
        has_window = given.display is not None or is_stdio_taken
        given.serial = ["vc" if has_window else "stdio"]


def _is_stdio_named(given: Namespace) -> bool:
    texts = (given.monitor, given.debugcon, *given.chardevs)
    return any("stdio" in text for text in texts if text)


def _is_a_screen_to_be_had() -> bool:
    streams = (sys.stdin, sys.stdout)
    are_terminals = all(stream is not None and stream.isatty() for stream in streams)
    return are_terminals and os.environ.get("TERM", "dumb") != "dumb"


def _terminated(number: int) -> int:
    print(f"{PROGRAM}: terminating on signal {number}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
