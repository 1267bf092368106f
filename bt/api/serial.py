"""COM1 as somebody at the other end of the wire uses it: what the guest has sent, and what it is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from bt import arguments
from bt.api.received import Received
from bt.api.stops import GuestTime, Limit, Pattern, Until
from bt.devices.serial.uart16550 import Uart16550
from bt.end import End
from bt.errors import BadUsage, BtError, one_line

SHOWN_BYTES = 200  # of what is unread, in messages
DEFAULT_LIMIT = GuestTime(60)
_BEGIN, _END = "bt-begin", "bt-end="


class Ended(Protocol):
    """Of a `Result` (bt/machine/result.py) what is asked here."""

    @property
    def reason(self) -> End: ...
    @property
    def match(self) -> re.Match[bytes] | None: ...


class Run(Protocol):
    """`Machine.run`, as far as it is used here."""

    def __call__(self, *, until: Sequence[Until], limit: Limit | None) -> Ended: ...


class NotSeen(BtError):
    """The guest has not sent what was expected of it."""


class CommandOutput(NamedTuple):
    """What a command has printed, lines ended by line feeds, and its exit status."""

    text: str
    status: int


class Serial:
    """The far end of COM1: `send`, `expect` and `run` have pexpect's words, and limits in the guest's time.

    `expect` and `run` run the guest in this thread. `output` and `send` may be used from any thread.
    """

    def __init__(
        self, received: Received, uart: Uart16550, run: Run, soon: Callable[[Callable[[], None]], None]
    ) -> None:
        """What the guest has sent, its end of the wire, what runs the guest, and what has something done between two
        of its instructions.
        """
        self._received, self._uart, self._run, self._soon = received, uart, run, soon

    @property
    def output(self) -> bytes:
        """What the guest has sent: all, or the last MiB at least."""
        return self._received.kept

    @property
    def unread(self) -> bytes:
        """Of `output`, what is behind the last match."""
        return self._received.between(self._received.taken, self._received.count)

    def take(self) -> bytes:
        """`unread`, which nobody will see again in `unread` or match."""
        found = self.unread
        self._received.taken = self._received.count
        return found

    def send(self, data: str | bytes) -> None:
        """Send bytes, or text as UTF-8. They wait until the guest takes them; nothing is added to them."""
        arguments.instance("data", data, (str, bytes, bytearray), "bytes or text are wanted")
        sent = data.encode() if isinstance(data, str) else bytes(data)
        self._soon(lambda: self._uart.receive(sent))

    def send_break(self) -> None:
        """Hold the line low for longer than a character."""
        self._soon(self._uart.receive_break)

    def expect(self, pattern: Pattern | bytes | str, limit: Limit = DEFAULT_LIMIT) -> re.Match[bytes]:
        """Run the guest until it has sent what the regular expression matches, and answer the match.

        What is unread counts. Raises NotSeen, with the end of what it has sent, where the run ends for another reason
        or at `limit` (GuestTime or Insns, from now on).
        """
        wanted = pattern if isinstance(pattern, Pattern) else Pattern(pattern)
        result = self._run(until=(wanted,), limit=limit)
        if result.match is None:
            tail = self.unread[-SHOWN_BYTES:].decode("utf-8", "replace")
            raise NotSeen(one_line(f"{wanted.expression!r} expected on COM1, {result.reason.sentence}; unread: {tail}"))
        return result.match

    def run(self, command: str, limit: Limit = DEFAULT_LIMIT) -> CommandOutput:
        """Have a POSIX shell at the other end, whose prompt waits, do `command`; raises NotSeen as `expect` does.

        Text is between two words that the shell prints around it, so neither echo nor prompt are part of it. The next
        prompt stays unread.
        """
        arguments.instance("command", command, str, "a line for a shell is wanted")
        if "\n" in command or "\r" in command:
            raise BadUsage(f"command={command!r}: one line is wanted; join several with ';'")
        # quoted in two parts, so that the echo of the line is none of them
        begin, end = f"{_BEGIN[:3]}''{_BEGIN[3:]}", f"{_END[:3]}''{_END[3:]}"
        self.take()
        self.send(f"echo {begin}; {command}; echo {end}$?\n")
        self.expect(re.escape(_BEGIN) + r"\r*\n", limit)
        start = self._received.taken
        found = self.expect(re.escape(_END) + r"(\d+)\r*\n", limit)
        text = self._received.between(start, self._received.taken - len(found[0]))
        return CommandOutput(text.decode("utf-8", "replace").replace("\r\n", "\n"), int(found[1]))
