"""-rtc base=TIME: what the real-time clock shows when the machine starts."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime

from bt.cli.options import pairs
from bt.errors import BadUsage
from bt.machine.config import MachineConfig

WITHOUT_EFFECT = ("clock", "driftfix")  # the guest's time is the machine's clock's: --clock


def checked(text: str) -> str:
    """The argument, if it is one."""
    try:
        base(text)
    except BadUsage as error:
        raise ArgumentTypeError(str(error)) from None
    return text


def base(text: str) -> datetime:
    """What the clock shows at first; a deterministic machine's own time if nobody says. Raises BadUsage."""
    shown = MachineConfig.rtc_base
    for name, value in _pairs(text):
        match name, value:
            case "base", "utc":
                shown = datetime.now(UTC)
            case "base", "localtime":  # the clock has no zone: it shows what the clock on the wall shows
                shown = datetime.now().replace(tzinfo=UTC)
            case "base", _:
                shown = _date(text, value)
            case _ if name not in WITHOUT_EFFECT:
                raise BadUsage(f"{text!r}: bt does not know {name}; base=utc, base=localtime or base=DATE is wanted")
    return shown


def _pairs(text: str) -> list[tuple[str, str]]:
    return pairs(text) if text else []


def _date(text: str, value: str) -> datetime:
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError:
        raise BadUsage(f"{text!r}: {value!r} is no date; write 2024-05-01 or 2024-05-01T12:00:00") from None
