"""What came of opening a page of a view."""

OPENED = 0
ATTENTION = 1
"""Accesses there need it: it is a device's, or holds code, or is no RAM."""
NO_TRANSLATION = 2
"""There is none, or none for such an access: the guest hears of that."""
