"""What every engine offers the VMM: run guest code until it exits, in the manner of KVM_RUN."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from bt.x86.exits import ExitReason
from bt.x86.state import CpuState


class Exit(NamedTuple):
    """Why the guest stopped, in the order of the exit slots of the state.

    `code`: an ExitReason as a number. `address`: port, guest physical address or vector; `size` in bytes.

    `instructions` were retired since the last exit, and `beside_ns` passed beside them (see bt/clock/virtual_clock.py).
    """

    code: int
    instructions: int = 0
    beside_ns: int = 0
    address: int = 0
    size: int = 0
    write: int = 0
    value: int = 0
    extra: int = 0

    @property
    def reason(self) -> ExitReason:
        return ExitReason(self.code)

    def after(self, instructions: int, beside_ns: int) -> Exit:
        """The same, with what had been retired and had passed before."""
        return self._replace(instructions=self.instructions + instructions, beside_ns=self.beside_ns + beside_ns)


class Engine(Protocol):
    """Runs one vCPU."""

    name: str
    state: CpuState

    def run(self, budget: int, offset_ns: int = 0, clock_scale: int = 0) -> Exit:
        """Run at most `budget` instructions. `instructions` counts what has been retired so far.

        The guest's time is the instruction count plus `offset_ns`; or, unless `clock_scale` is 0,
        `offset_ns` and what passes on the host (bt/clock/virtual_clock.py).
        """
        ...

    @property
    def instructions(self) -> int: ...

    def complete(self, value: int) -> None:
        """Answer an IO or MMIO exit (any value for a write); the instruction goes on at the next `run`."""
        ...

    def flush(self) -> None:
        """Forget everything decoded and translated: guest memory or CPU state was changed from outside."""
        ...
