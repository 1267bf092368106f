"""`bt COMMAND ...`: picks the command; every other file here is one command."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bt import __version__
from bt.cli import signals
from bt.end import End
from bt.errors import BadUsage, BtError, one_line

if TYPE_CHECKING:
    from traceback import StackSummary

COMMANDS = {
    "run": "run a guest",
    "bench": "measure the engines, against each other and against their peers",
    "diff": "run a guest on two engines, or on one and QEMU; find where they differ",
    "explain": "show what the translator makes of a guest's code",
    "images": "list the guests that are built in or fetched",
}
DEBUG = "BT_DEBUG"
_SOURCES = Path(__file__).parents[2]
_START_OBJECTS = 50_000  # more than a start makes: the collector comes by 50 times otherwise, 5 ms of 115
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what writing to a file or terminal may end in


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name); the exit status for the shell.

    A signal that ends programs, and output that nobody reads any more, end the process by that signal.
    """
    words = of_process() if arguments is None else list(arguments)
    return ended(lambda: _command(words))


def of_process() -> list[str]:
    """The arguments of a process that has nothing else to do; its garbage is looked for where that can be much."""
    gc.set_threshold(_START_OBJECTS)
    # the interpreter looks through all there is as it goes down, for memory that goes with the process: 12 ms of 115
    atexit.register(gc.freeze)
    return sys.argv[1:]


def ended(
    command: Callable[[], int],
    program: str = "bt",
    refused: int | None = None,
    signalled: Callable[[int], int] = signals.end_by,
) -> int:
    """The exit status of a program that does `command`, whatever that raises.

    `program` is what it calls itself; `refused`: the status of what is wrong with a command line or a guest, if it is
    not the error's own; `signalled` says what the status is when a signal has ended it.
    """
    try:
        with signals.raised():
            return _status(command, program, refused)
    except signals.Signalled as error:
        return signalled(error.number)
    except BrokenPipeError:
        signals.end_by(signal.SIGPIPE)


def _status(command: Callable[[], int], program: str, refused: int | None) -> int:
    """The exit status of a command, whatever it raises, with all its output written."""
    try:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                status = command()
        except SystemExit as done:  # argparse, after --help; rich, where nobody reads
            if isinstance(done.__context__, BrokenPipeError):
                raise done.__context__ from None
            status = int(done.code or 0)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BtError as error:
        return _complain(program, str(error), error.exit_code if refused is None else refused)
    except KeyboardInterrupt:
        return _complain(program, End.INTERRUPTED.sentence, End.INTERRUPTED.exit_status())
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            if sys.stdout is not None:  # the interpreter must not stumble over it once more when it flushes
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _complain(program, f"cannot write: {error.strerror}", End.BAD_USAGE.exit_status())
        return _own_fault(program, error)


def _command(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else End.BAD_USAGE.exit_status()
    if arguments[0] in ("-V", "--version"):
        print(f"bt {__version__}")
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        raise BadUsage(f"{command}: no such command; there are {', '.join(COMMANDS)}")
    # imported only now: `bt run` must not wait for what the other commands need
    return int(import_module(f"bt.cli.{command}").main(arguments[1:]))


def _own_fault(program: str, error: Exception) -> int:
    """bt itself has failed: one line, and with BT_DEBUG the traceback before it."""
    import traceback  # no part of an ordinary start

    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    what = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    place = _place(traceback.extract_tb(error.__traceback__))
    return _complain(
        program,
        f"{End.INTERNAL_ERROR.sentence}: {what} ({place}); please report it as an issue of bt, "
        f"with the traceback that {DEBUG}=0 in the environment shows",
        End.INTERNAL_ERROR.exit_status(),
    )


def _place(frames: StackSummary) -> str:
    """The innermost line of bt's own that an exception went through."""
    place = "?"
    for frame in frames:
        path = Path(frame.filename)
        if path.is_relative_to(_SOURCES / "bt"):
            place = f"{path.relative_to(_SOURCES)}:{frame.lineno}"
    return place


def _help() -> str:
    commands = "\n".join(f"  {name:<8} {summary}" for name, summary in COMMANDS.items())
    return f"""\
usage: bt COMMAND ...

Run unmodified x86 guests by binary translation.

{commands}

`bt COMMAND --help` says more."""


def _complain(program: str, message: str, status: int) -> int:
    print(f"{program}: {one_line(message)}", file=sys.stderr)
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
