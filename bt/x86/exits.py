"""Why generated code left to Python: the values of the state's `exit_reason`."""

from __future__ import annotations

from enum import IntEnum


class ExitReason(IntEnum):
    """In the manner of KVM_RUN's exit reasons; `exit_*` slots hold the particulars.

    Numbered without a gap: tables are indexed by them.
    """

    NONE = 0
    BUDGET = 1  # instruction budget used up
    IO = 2  # port exit_address, exit_size bytes, exit_write, exit_value
    MMIO = 3  # the same for a guest physical address
    HLT = 4
    SHUTDOWN = 5  # triple fault
    INTERRUPT_WINDOW = 6  # INTR is pending and the guest can take it now
    # vector exit_address is in trap_vectors; exit_value = error code, exit_extra: bit 0 has one, bit 1 pushes RF
    EXCEPTION = 7
    CALLOUT = 8  # exit_address = number of a rare instruction served in Python
    CACHE_FULL = 9  # no room for more code: flush and go on
    INTERNAL = 10  # a broken promise inside bt
    FP_ERROR = 11  # FERR#: an x87 exception with CR0.NE clear; the guest waits for the interrupt that comes of it
    MSR = 12  # register exit_address, which others than the processor read, was written: exit_value
    BREAKPOINT = 13  # before the instruction at linear address exit_address, where somebody outside wants it
    PROMOTE = 14  # a path has been recorded that is worth a unit of tier 2
