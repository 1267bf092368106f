"""Where in a guest's run a command begins: --after and --until."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

from bt import machine
from bt.cli import options
from bt.end import End
from bt.errors import BadUsage
from bt.inspect.place import Place


def add(parser: options.Parser, condition: str = "") -> None:
    """The two options; `condition` says when they are of use."""
    parser.add_argument("--after", metavar="N", type=options.count, help=f"{condition}run N instructions first")
    parser.add_argument("--until", metavar="PLACE", type=place,
        help=f"{condition}then step (10,000 instructions a second) until it gets there")  # fmt: skip


def place(text: str) -> Place:
    """A linear address as `options.address` has it, or SELECTOR:OFFSET, both hexadecimal."""
    match = re.fullmatch(r"(?:0x)?([0-9a-f]{1,4}):(?:0x)?([0-9a-f]{1,8})", text.lower())
    if match is not None:
        return Place(int(match[2], 16), int(match[1], 16))
    if ":" in text:
        raise ArgumentTypeError(f"{text!r} is no selector and offset; write f000:fff0")
    return Place(options.address(text))


def advance(pc: machine.Machine, after: int | None, until: Place | None) -> None:
    """Run a guest to there; BadUsage if it ends before."""
    if after:
        _run(pc, after, f"--after {after}")
    while until is not None and not until.is_next(pc.cpu):
        _run(pc, 1, f"--until {until}")


def _run(pc: machine.Machine, instructions: int, option: str) -> None:
    result = pc.run(max_insns=instructions)
    if result.reason is End.INTERRUPTED:
        raise KeyboardInterrupt
    if result.reason is not End.MAX_INSNS:
        raise BadUsage(f"{option}: the guest ended before, after {result.instructions:,} instructions")
