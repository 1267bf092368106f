"""Several that talk with one person: who gets what is typed, and keys for the console itself (Ctrl-A, as in QEMU)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

ESCAPE = 0x01  # Ctrl-A
ESC = 0x1B  # what terminals send for Alt, in front of a key, and for the key of that name
FIRST_NUMBER = ord("1")


class Front(Protocol):
    """One of those that a person talks with."""

    name: str

    def received(self, data: bytes) -> None:
        """What was typed to it."""

    def enter(self) -> None:
        """It is the one from now on."""

    def leave(self) -> None:
        """It is no more."""

    def send_break(self) -> None:
        """A break, as a terminal's line has it."""


class Command(NamedTuple):
    """What Ctrl-A and a key do."""

    summary: str
    action: Callable[[], None]


class Mux:
    """Gives what is typed to one of `fronts`.

    `commands`: by the key behind Ctrl-A. A front that takes over for a while (`capture`) gets everything, Ctrl-A
    included, until it lets go, and returns what it has not taken. Of one thread, as its fronts are.
    """

    def __init__(
        self,
        fronts: Sequence[Front],
        say: Callable[[str], None],
        stop: Callable[[], None],
        *,
        has_numbers: bool = False,
        first: int = 0,
    ) -> None:
        """`say` shows lines to the person, `stop` ends the run; `has_numbers`: Alt and a digit switch, too.

        `first`: with which to begin.
        """
        self.fronts = fronts
        self._say = say
        self._has_numbers = has_numbers
        self._current = first
        self._is_escaped = False
        self.capture: Callable[[bytes], bytes] | None = None
        self.commands = {
            "h": Command("print this help", self._help),
            "x": Command("exit bt", stop),
            "s": Command("save disk data back to file (-snapshot: bt never does)", self._save),
            "b": Command("send break (magic sysrq)", lambda: self.current.send_break()),
            "c": Command(f"switch to the next of {', '.join(front.name for front in fronts)}", self._next),
        }
        if has_numbers:
            for number, front in enumerate(fronts):
                self.commands[chr(FIRST_NUMBER + number)] = Command(
                    f"switch to {front.name}, as does Alt-{number + 1}", partial(self.switch, number)
                )

    @property
    def current(self) -> Front:
        return self.fronts[self._current]

    def typed(self, data: bytes) -> None:
        """What has come from the person, in pieces that may end anywhere: who types fast, or a program, sends more
        than one thing at once."""
        while data:
            data = self._give(data) if self.capture is None else self.capture(data)

    def _give(self, data: bytes) -> bytes:
        """Up to the first key for the console, and what that does: what is behind it may be for somebody else."""
        plain = bytearray()
        for at, byte in enumerate(data):
            if self._is_escaped:
                self._is_escaped = False
                if byte != ESCAPE:
                    self._pass_on(plain)
                    self._do(chr(byte))
                    return data[at + 1 :]
                plain.append(byte)
            elif byte == ESCAPE:
                self._is_escaped = True
            elif (number := self._number(data[at : at + 2])) is not None:
                self._pass_on(plain)
                self.switch(number)
                return data[at + 2 :]
            else:
                plain.append(byte)
        self._pass_on(plain)
        return b""

    def _number(self, keys: bytes) -> int | None:
        """Of the front that Alt and a digit mean."""
        if not self._has_numbers or len(keys) < 2 or keys[0] != ESC:
            return None
        number = keys[1] - FIRST_NUMBER
        return number if 0 <= number < len(self.fronts) else None

    def switch(self, number: int) -> None:
        """Talk with another."""
        if number != self._current:
            self.current.leave()
            self._current = number
            self.current.enter()

    def _pass_on(self, plain: bytearray) -> None:
        if plain:
            self.current.received(bytes(plain))
            plain.clear()

    def _do(self, key: str) -> None:
        command = self.commands.get("h" if key == "?" else key.lower())
        if command is not None:  # QEMU, too, ignores what it does not know
            command.action()

    def _next(self) -> None:
        self.switch((self._current + 1) % len(self.fronts))

    def _help(self) -> None:
        lines = [f"C-a {key:<4} {command.summary}" for key, command in self.commands.items()]
        self._say("\n".join([*lines, "C-a C-a  sends C-a"]))

    def _save(self) -> None:
        self._say("nothing is saved: with -snapshot what guests write is gone at the end")
