"""Errors that end up in front of a user: one line with what, where and what to do."""

from bt.end import End


class BtError(Exception):
    """Base of every error bt reports to its user instead of a traceback."""

    exit_code = End.BAD_USAGE.exit_status()

    def __str__(self) -> str:
        return one_line(super().__str__())


class BadImage(BtError):
    """A guest image, kernel or initrd cannot be used as given."""


class Closed(BtError):
    """Something is used after its `close()`."""


class BadUsage(BtError):
    """A command line or an API call asks for something impossible."""


def one_line(text: str) -> str:
    """A message whatever it cites: names may contain line ends, and sequences that terminals obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
