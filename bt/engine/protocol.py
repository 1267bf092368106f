"""What every engine offers the VMM: run guest code until it exits, in the manner of KVM_RUN."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple, Protocol

from bt.memory.bus import ByteCells
from bt.memory.native_registers import NativeRegisters
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
    """Runs one vCPU. This is all that a machine (bt/machine) needs of it; another engine has to offer no more.

    Snapshots know the insides of bt's own engines (`own_vcpu`); a machine with another one refuses them.

    Pins are methods: INTR, NMI, A20M# and IGNNE# come from the board, FERR# goes to it as an FP_ERROR exit.
    """

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> CpuState:
        """The registers. After writing some, `flush`: CpuState says after which."""
        ...

    # -- running ------------------------------------------------------------------------------------------------------

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

    def stop_before(self, addresses: Collection[int]) -> None:
        """From now on leave with BREAKPOINT before the instructions at these linear addresses, and at no others.

        Where it has left it goes on when it is run again, and leaves when it comes there once more.
        """
        ...

    def stop_before_instructions(self, mnemonics: Collection[str]) -> None:
        """The same before instructions called so in the opcode table, wherever they are, and before no others."""
        ...

    def pass_breakpoint(self) -> None:
        """Should the next run begin at such an instruction, it is not left there at once."""
        ...

    @property
    def port_values(self) -> ByteCells:
        """One byte a port: what a read of it gives, and where a write goes, as far as `port_access` lets the engine."""
        ...

    @property
    def port_access(self) -> ByteCells:
        """One byte a port: NATIVE_* bits (bt/memory/bus.py), 0 for an exit at each access."""
        ...

    @property
    def native_registers(self) -> NativeRegisters:
        """What native code answers for, which buses enter."""
        ...

    # -- pins ---------------------------------------------------------------------------------------------------------

    def set_intr(self, level: bool) -> None:
        """INTR: while it is high and EFLAGS.IF set, `run` leaves with INTERRUPT_WINDOW before the next instruction."""
        ...

    def interrupt(self, vector: int) -> None:
        """Take an external interrupt now (after an INTERRUPT_WINDOW exit). Raises BadUsage for a vector beyond 255."""
        ...

    def nmi(self) -> None:
        """Raise a non-maskable interrupt: vector 2, before the next instruction unless one is still being served."""
        ...

    @property
    def interrupts_enabled(self) -> bool:
        """EFLAGS.IF."""
        ...

    @property
    def interrupt_waits(self) -> bool:
        """Whether something is there that ends HLT: an NMI, or INTR while EFLAGS.IF is set."""
        ...

    def set_a20(self, enabled: bool) -> None:
        """The A20 gate: closed, bit 20 of every physical address is 0."""
        ...

    def ignore_fp_error(self) -> None:
        """IGNNE#: x87 instructions ignore an exception that is pending, until it has been cleared."""
        ...

    # -- what it tells, and its end -----------------------------------------------------------------------------------

    def host_cycles(self) -> int:
        """The host's time stamp counter, which tells the guest's time in clock mode "host"."""
        ...

    @property
    def in_unit(self) -> bool:
        """Whether it is in tier 2 now, asked by another thread."""
        ...

    def statistics(self) -> dict[str, int]:
        """What it counted; docs/results.md lists the names."""
        ...

    @property
    def refused(self) -> str:
        """Why the host does not have what makes guests fast (tier 2); empty while it does, or nobody has asked."""
        ...

    def callouts(self) -> Counter[str]:
        """How often the interpreter did an instruction for translated code, by mnemonic."""
        ...

    @property
    def closed(self) -> bool: ...

    def close(self) -> None:
        """Give everything back; twice is fine. BadUsage while it runs."""
        ...
