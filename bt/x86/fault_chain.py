"""The way to a shutdown: exceptions and interrupts whose delivery failed, one because of the other (SDM vol. 3A 6.15).

The processor notes each in the state (`note_delivery` in bt/x86/system/interrupts/exceptions.py); here they are read.
"""

from __future__ import annotations

from dataclasses import dataclass

from bt.x86.state import FAULT_CHAIN_ENTRIES, FAULT_FIELDS, FAULT_INTERRUPT, FAULT_NO_ERROR, CpuState


@dataclass(frozen=True)
class Failure:
    """An exception or external interrupt that could not be delivered, and the exception that was raised instead.

    Error codes are None where there is none. CR2 is as it was then: of a page fault, the address. CS, EIP, mode key
    (bt/x86/mode.py) and CR3 are those at which it was to be delivered.
    """

    vector: int
    is_interrupt: bool
    error: int | None
    cr2: int
    cs: int
    cs_base: int
    eip: int
    mode: int
    cr3: int
    raised: int
    raised_error: int | None
    raised_cr2: int


def read(state: CpuState) -> tuple[Failure, ...]:
    """The failed deliveries since the last one that succeeded, in order: after a SHUTDOWN exit, what led to it."""
    depth = min(state["fault_depth"], FAULT_CHAIN_ENTRIES)
    entries = [
        {name: state["fault_chain", len(FAULT_FIELDS) * number + at] for at, name in enumerate(FAULT_FIELDS)}
        for number in range(depth)
    ]
    addresses = [*(entry["cr2"] for entry in entries), state["cr2"]]
    return tuple(_failure(entry, raised_cr2) for entry, raised_cr2 in zip(entries, addresses[1:], strict=True))


def _failure(entry: dict[str, int], raised_cr2: int) -> Failure:
    event, error, raised_error = (entry.pop(name) for name in ("event", "error", "raised_error"))
    return Failure(
        vector=event & ~FAULT_INTERRUPT,
        is_interrupt=bool(event & FAULT_INTERRUPT),
        error=None if error == FAULT_NO_ERROR else error,
        raised_error=None if raised_error == FAULT_NO_ERROR else raised_error,
        raised_cr2=raised_cr2,
        **entry,
    )
