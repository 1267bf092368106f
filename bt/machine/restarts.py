"""What becomes of a run in which the guest resets the machine: it goes on, unless that was not wanted or is no use."""

from __future__ import annotations

from collections.abc import Callable

from bt.end import End

QUIET_RESETS = 3  # so many with no output in between are one too many: each start ends like the one before


class Restarts:
    """Counts the resets of a machine, and says which of the guest's end the run."""

    def __init__(self, no_reboot: bool) -> None:
        self._no_reboot = no_reboot
        self.noted: Callable[[], None] | None = None  # wants to know when the machine starts again
        self.counts = [0, 0]  # how often the machine has started again; the guest's resets since the last output

    @property
    def count(self) -> int:
        """How often the machine has started again."""
        return self.counts[0]

    def note(self) -> None:
        """It has, once more."""
        self.counts[0] += 1
        if self.noted is not None:
            self.noted()

    def heard(self) -> None:
        """The guest has sent something."""
        self.counts[1] = 0

    def end(self) -> End | None:
        """The guest has reset the machine: how that ends the run, or None if it starts again."""
        if self._no_reboot:
            return End.RESET
        self.counts[1] += 1
        if self.counts[1] < QUIET_RESETS:
            return None
        self.counts[1] = 0
        return End.RESET_LOOP
