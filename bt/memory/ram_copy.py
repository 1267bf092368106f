"""A copy of all of guest RAM, to be put back."""

from __future__ import annotations

from bt.memory.ram import GuestRam


class RamCopy:
    """What a RAM held at one moment. Pages that no one had touched cost nothing.

    From then on that RAM keeps a log of the pages written to, and `put_back` copies those. Into another RAM, or one
    that the log knows nothing of, it copies everything.
    """

    def __init__(self, ram: GuestRam) -> None:
        """Of `ram` as it is now."""
        self._memory = GuestRam(ram.size)
        for start, end in ram.extents():
            self._memory.write(start, ram.view[start:end])
        ram.keep_log().same_as(self)

    @property
    def size(self) -> int:
        return self._memory.size

    def put_back(self, ram: GuestRam) -> None:
        """Let `ram`, of the same size, be what it was: as `GuestRam.write` would."""
        log = ram.keep_log()
        marks = log.since(self)
        if marks is None:
            ram.clear()
            for start, end in self._memory.extents():
                ram.write(start, self._memory.view[start:end])
        else:
            ram.put_back(marks, self._memory.view)
        log.same_as(self, marks)

    @property
    def closed(self) -> bool:
        return self._memory.closed

    def close(self) -> None:
        """Give the memory back; twice is harmless."""
        self._memory.close()
