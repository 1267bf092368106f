"""`bt COMMAND ...`: picks the command; every other file here is one command."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from bt import __version__
from bt.errors import BtError, one_line

COMMANDS = {
    "run": "run a guest",
    "bench": "measure the engines, against each other and against their peers",
    "diff": "run a guest on two engines, or on one and QEMU; find where they differ",
    "explain": "show what the translator makes of a guest's code",
    "images": "list the guests that are built in or fetched",
}
USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell has it
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name); the exit status for the shell."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else USAGE_ERROR
    if arguments[0] in ("-V", "--version"):
        print(f"bt {__version__}")
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        return _complain(f"{command}: no such command; there are {', '.join(COMMANDS)}", USAGE_ERROR)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            # imported only now: `bt run` must not wait for what the other commands need
            return int(import_module(f"bt.cli.{command}").main(arguments[1:]))
    except BtError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has gone; the interpreter must not stumble over it once more when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _help() -> str:
    commands = "\n".join(f"  {name:<8} {summary}" for name, summary in COMMANDS.items())
    return f"""\
usage: bt COMMAND ...

Run unmodified x86 guests by binary translation.

{commands}

`bt COMMAND --help` says more."""


def _complain(message: str, status: int) -> int:
    print(f"bt: {one_line(message)}", file=sys.stderr)
    return status


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    print(f"bt: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
