"""How a run ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bt.end import End
from bt.record import Record

if TYPE_CHECKING:
    import re

    from bt.api.stops import Until
    from bt.machine.accounts import Served
    from bt.x86.fault_chain import Failure


class Where(NamedTuple):
    """The instruction that comes next: selector of CS, EIP in that segment, and the linear address of both."""

    cs: int
    eip: int
    linear: int

    def __str__(self) -> str:
        return f"{self.cs:04x}:{self.eip:08x}"


_NOWHERE = Where(0, 0, 0)


class Result(Record):
    """How a run ended, and what it took.

    The keys of `exits` (why the guest was left, how often) and `statistics` (what the engine counted) are listed in
    docs/results.md. `callouts`: how often translated code had the interpreter do an instruction, by mnemonic.
    """

    reason: End  # its `sentence` says more
    status: int  # exit status for the shell: the end's, or the guest's own (End.EXIT)
    instructions: int
    seconds: float  # host wall time in `run`
    cpu_seconds: float  # host processor time in `run`, all threads of the process
    exits: dict[str, int]
    statistics: dict[str, int]
    callouts: dict[str, int]
    detail: str = ""  # what BIOS service was called, which interrupt had no handler
    resets: int = 0  # how often the machine has started again
    host_cycles: int = 0  # of the host's time stamp counter, in all runs of the machine
    served: tuple[Served, ...] = ()  # what exits cost, if `Machine.keep_accounts` was called
    # what took how many seconds, in all runs of the machine, if accounts were kept and the engine translates
    time_account: tuple[tuple[str, float], ...] = ()
    until: Until | None = None  # what it was to run until, and has come (End.UNTIL)
    match: re.Match[bytes] | None = None  # of a Pattern
    where: Where = _NOWHERE  # the instruction that comes next
    fault_chain: tuple[Failure, ...] = ()  # of a triple fault; bt/inspect/fault_report.py puts it into words
    refused: str = ""  # why the host does not have what makes guests fast (docs/architecture.md, Tier 2)
