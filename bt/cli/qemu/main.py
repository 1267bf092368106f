"""`bt-qemu ...`: a command line of qemu-system-i386 as it stands, with QEMU's defaults and exit statuses.

By a link with the name of the other program it is that one: the processor has long mode unless the line says otherwise.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from bt import __version__
from bt.cli import run
from bt.cli.main import ended, of_process
from bt.cli.qemu import defaults
from bt.end import End
from bt.x86 import cpu_model

PROGRAM, LONG_MODE_PROGRAM = "bt-qemu", "qemu-system-x86_64"
# tools read the number: it is that of the QEMU whose options are taken here
VERSION = f"QEMU emulator version 7.2.0 (bt {__version__}, which takes QEMU's command line)"
# QEMU's own: whatever ends a guest that has run is no failure
STATUSES = {End.BAD_USAGE: 1, End.INTERRUPTED: 0, End.PANIC: 0, End.RESET: 0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name); the exit status for the shell."""
    words = of_process() if arguments is None else list(arguments)
    return ended(lambda: _run(words), PROGRAM, STATUSES[End.BAD_USAGE], _terminated)


def _run(words: list[str]) -> int:
    if words[:1] in (["-version"], ["--version"]):
        print(VERSION)
        return 0
    given = run.parser(PROGRAM).parse_args(words, Namespace(triple_fault="reset", rtc="base=utc"))
    if given.cpu is None and Path(sys.argv[0]).name == LONG_MODE_PROGRAM:
        given.cpu = cpu_model.LONG_MODE_DEFAULT
    defaults.boot_as_qemu(given)
    defaults.talk_as_qemu(given)
    result = run.execute(given, stays_halted=True)
    return STATUSES.get(result.reason, result.status)


def _terminated(number: int) -> int:
    print(f"{PROGRAM}: terminating on signal {number}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
