"""What every engine offers the VMM: run guest code until it exits, in the manner of KVM_RUN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bt.x86.exits import ExitReason
from bt.x86.state import CpuState


@dataclass(frozen=True, slots=True)
class Exit:
    """Why the guest stopped. `address`: port, guest physical address or vector; `size` in bytes."""

    reason: ExitReason
    address: int = 0
    size: int = 0
    write: bool = False
    value: int = 0
    extra: int = 0


class Engine(Protocol):
    """Runs one vCPU."""

    name: str
    state: CpuState

    def run(self, budget: int) -> Exit:
        """Run at most `budget` instructions. `instructions` counts what has been retired so far."""
        ...

    @property
    def instructions(self) -> int: ...

    def complete(self, value: int) -> None:
        """Answer an IO or MMIO exit (any value for a write); the instruction goes on at the next `run`."""
        ...

    def flush(self) -> None:
        """Forget everything decoded and translated: guest memory or CPU state was changed from outside."""
        ...
