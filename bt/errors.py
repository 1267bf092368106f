"""Errors that end up in front of a user: one line with what, where and what to do."""


class BtError(Exception):
    """Base of every error bt reports to its user instead of a traceback."""

    exit_code = 2


class BadImage(BtError):
    """A guest image, kernel or initrd cannot be used as given."""


class Closed(BtError):
    """Something is used after its `close()`."""


class BadUsage(BtError):
    """A command line or an API call asks for something impossible."""
