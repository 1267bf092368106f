"""What a run can go on until: text on the serial port, an address, so many instructions, so much of guest time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bt import arguments
from bt.clock.virtual_clock import NS_PER_SECOND


@dataclass(frozen=True)
class Pattern:
    """The guest has sent what a regular expression matches, on COM1.

    `expression` is bytes, or text that stands for its UTF-8. It is looked for after each byte in the last
    MATCH_BYTES that nobody has taken yet (`Serial.unread`); what is before its end has then been taken. The run ends
    with the instruction that sent the last byte. BadUsage for what is no regular expression.
    """

    expression: bytes | str
    compiled: re.Pattern[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arguments.instance("expression", self.expression, (bytes, str), "a regular expression is wanted")
        text = self.expression
        try:
            compiled = re.compile(text.encode() if isinstance(text, str) else text)
        except re.error as error:
            arguments.require(False, "expression", self.expression, f"no regular expression: {error}")
        object.__setattr__(self, "compiled", compiled)


@dataclass(frozen=True)
class Address:
    """The next instruction is the one at this linear address, of 32 bits.

    The run ends before it is executed. Where a run begins does not count: only coming there again does. A string
    instruction with REP counts once for all of its repetitions, unless an interrupt comes between them.
    """

    linear: int

    def __post_init__(self) -> None:
        arguments.whole_number(
            "linear", self.linear, "a linear address of 32 bits is wanted", least=0, most=(1 << 32) - 1
        )


@dataclass(frozen=True)
class Insns:
    """So many instructions of this run have been executed."""

    count: int

    def __post_init__(self) -> None:
        arguments.whole_number("count", self.count, "a number of instructions, 0 or more, is wanted", least=0)


@dataclass(frozen=True)
class GuestTime:
    """So many seconds of the guest's time have passed in this run, halted or not.

    With the clock "icount" an instruction takes a nanosecond, and the count at the end is the same in every run.
    """

    seconds: float

    def __post_init__(self) -> None:
        good = isinstance(self.seconds, int | float) and not isinstance(self.seconds, bool) and self.seconds >= 0
        arguments.require(good, "seconds", self.seconds, "a number of seconds, 0 or more, is wanted")

    @property
    def ns(self) -> int:
        """The same in nanoseconds."""
        return round(self.seconds * NS_PER_SECOND)


Until = Pattern | Address | Insns | GuestTime
Limit = Insns | GuestTime
