"""A copy of all of guest RAM, to be put back."""

from __future__ import annotations

from typing import Protocol

from bt.memory.dirty_log import Marks, runs
from bt.memory.ram import GuestRam
from bt.x86.page import PAGE


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


class MemoryCopy:
    """What some other memory of the map, ROM or a window, held at one moment; as `RamCopy` keeps a log of it."""

    def __init__(self, memory: GuestRam) -> None:
        self._copy = GuestRam(memory.size)
        for start, end in memory.extents():
            self._copy.write(start, memory.view[start:end])
        memory.keep_log().same_as(self)

    def put_back(self, memory: GuestRam) -> None:
        """Let that memory, or one of the same size, be what it was."""
        log = memory.keep_log()
        marks = log.since(self)
        if marks is None:
            memory.clear()
        parts = self._copy.extents() if marks is None else ((PAGE * first, PAGE * end) for first, end in runs(marks))
        for start, end in parts:
            memory.write(start, self._copy.view[start:end])
        log.same_as(self)

    def close(self) -> None:
        """Give the memory back; twice is harmless."""
        self._copy.close()
