"""What a command of the monitor is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bt.errors import BtError
from bt.machine import Machine


class CommandError(BtError):
    """What the monitor answers instead; the text is the whole answer."""


@dataclass(frozen=True)
class Command:
    """One line of a table. `names`: the first is shown first; `function` gets the machine and the rest of the line."""

    names: tuple[str, ...]
    arguments: str  # as QEMU's help shows them
    help: str
    function: Callable[[Machine, str], str]

    @property
    def usage(self) -> str:
        """Its line of `help`."""
        return f"{'|'.join(self.names)} {self.arguments} -- {self.help}"


def words(rest: str, least: int, most: int, names: str) -> list[str]:
    """The arguments, of which there must be so many. Raises CommandError."""
    found = rest.split()
    if not least <= len(found) <= most:
        raise CommandError(f"{'missing' if len(found) < least else 'extraneous'} arguments: {names} wanted")
    return found


def number(text: str) -> int:
    """A decimal or, behind 0x, hexadecimal number. Raises CommandError."""
    try:
        return int(text, 0)
    except ValueError:
        raise CommandError(f"invalid number '{text}'") from None


def lines(text: list[str]) -> str:
    """An answer of several lines, each ended."""
    return "".join(f"{line}\n" for line in text)
