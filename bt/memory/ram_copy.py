"""A copy of all of guest RAM, to be put back."""

from __future__ import annotations

from typing import Protocol

from bt.memory.dirty_log import Marks
from bt.memory.ram import GuestRam


class Processor(Protocol):
    """The vCPU that runs on the RAM (bt/engine/vcpu.py)."""

    @property
    def ram(self) -> GuestRam: ...
    def copy_pages(self, source: int, marks: Marks) -> None:
        """Store the marked pages of a copy of RAM at a host address, unmarked in the log; forget code from there."""

    def forget_translations(self) -> None:
        """Walk the page tables anew from now on: accessed and dirty bits in RAM are then all that is known."""


class RamCopy:
    """What a RAM held at one moment. Pages that no one had touched cost nothing.

    From then on that RAM keeps a log of the pages written to, and `put_back` copies those. Into another RAM, or one
    that the log knows nothing of, it copies everything.
    """

    def __init__(self, cpu: Processor) -> None:
        """Of the processor's RAM as it is now."""
        ram = cpu.ram
        self._memory = GuestRam(ram.size)
        for start, end in ram.extents():
            self._memory.write(start, ram.view[start:end])
        ram.keep_log().same_as(self)
        cpu.forget_translations()

    def put_back(self, cpu: Processor) -> None:
        """Let the processor's RAM, of the same size, be what it was."""
        ram = cpu.ram
        log = ram.keep_log()
        marks = log.since(self)
        if marks is None:
            ram.clear()
            for start, end in self._memory.extents():
                ram.write(start, self._memory.view[start:end])
        else:
            cpu.copy_pages(self._memory.address, marks)
        log.same_as(self, marks)
        cpu.forget_translations()

    @property
    def closed(self) -> bool:
        return self._memory.closed

    def close(self) -> None:
        """Give the memory back; twice is harmless."""
        self._memory.close()
