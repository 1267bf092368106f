"""What a virtual CPU's Python half asks of its memory back-end (bt/memory/backend.py has the rest of the interface)."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Mmu(ABC):
    """The back-end of one virtual CPU. Only between two runs, or while the processor waits for the answer to an exit.

    Whatever changes what an address means comes by here: remaps, A20, breakpoints, restored state, dirty logs.
    """

    @abstractmethod
    def invalidate_all(self) -> None:
        """Forget every translation, and derive the rights of accesses from the CPU state afresh."""

    @abstractmethod
    def invalidate_user(self) -> None:
        """Forget the translations that a load of CR3 makes a processor forget: all but those of global pages."""

    @abstractmethod
    def invalidate_page(self, linear: int) -> None:
        """Forget the translation of one linear address."""

    @abstractmethod
    def invalidate_range(self, linear: int, size: int) -> None:
        """Forget the translations of `size` bytes from a linear address on, or more."""

    @abstractmethod
    def remapped(self, physical: int, size: int) -> None:
        """Something else is at these physical addresses now."""

    @abstractmethod
    def protect(self, physical: int, size: int) -> None:
        """Have the next store to each of these pages noted in the dirty log."""

    @abstractmethod
    def set_a20(self, enabled: bool) -> None:
        """Let address line 20 through, or hold it low."""
