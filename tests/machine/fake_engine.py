"""An engine that has what the protocol asks for and nothing else: it plays a list of exits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from bt.engine.protocol import Exit
from bt.memory.native_registers import NativeRegisters
from bt.x86 import flags
from bt.x86.exits import ExitReason
from bt.x86.state import CpuState

INSNS_AN_EXIT = 10


class FakeEngine:
    """Runs ten instructions to each exit of `script`, and after the last to the end of every budget."""

    name = "fake"
    refused = ""

    def __init__(self, script: Iterable[Exit] = ()) -> None:
        self.state = CpuState()
        self.port_values, self.port_access = bytearray(1 << 16), bytearray(1 << 16)
        self.native_registers = NativeRegisters()
        self.instructions = 0
        self.answers: list[int] = []  # to its accesses
        self.vectors: list[int] = []
        self.flushes = 0
        self.intr = self.nmi_waits = self.fp_errors_ignored = False
        self.a20 = True
        self.closed = False
        self._script = list(script)

    def run(self, budget: int, offset_ns: int = 0, clock_scale: int = 0) -> Exit:
        if self.intr and self.interrupts_enabled:
            return Exit(ExitReason.INTERRUPT_WINDOW)
        if self._script and budget >= INSNS_AN_EXIT:
            self.instructions += INSNS_AN_EXIT
            return self._script.pop(0)._replace(instructions=INSNS_AN_EXIT)
        self.instructions += budget
        return Exit(ExitReason.BUDGET, budget)

    def complete(self, value: int) -> None:
        self.answers.append(value)

    def flush(self) -> None:
        self.flushes += 1

    def set_intr(self, level: bool) -> None:
        self.intr = level

    def interrupt(self, vector: int) -> None:
        self.vectors.append(vector)

    @property
    def in_unit(self) -> bool:
        return False

    def nmi(self) -> None:
        self.nmi_waits = True

    @property
    def interrupts_enabled(self) -> bool:
        return bool(self.state["eflags_system"] & flags.IF)

    @property
    def interrupt_waits(self) -> bool:
        return self.nmi_waits or (self.intr and self.interrupts_enabled)

    def set_a20(self, enabled: bool) -> None:
        self.a20 = enabled

    def ignore_fp_error(self) -> None:
        self.fp_errors_ignored = True

    def host_cycles(self) -> int:
        return self.instructions

    def stop_before(self, addresses: Collection[int]) -> None:
        self.stops = set(addresses)

    def stop_before_instructions(self, mnemonics: Collection[str]) -> None:
        self.stopping_mnemonics = set(mnemonics)

    def pass_breakpoint(self) -> None:
        pass

    def statistics(self) -> dict[str, int]:
        return {"played": self.instructions}

    def callouts(self) -> Counter[str]:
        return Counter()

    def close(self) -> None:
        self.closed = True
        self.state.close()


def out(port: int, value: int, size: int = 1) -> Exit:
    return Exit(ExitReason.IO, address=port, size=size, write=1, value=value)


def inp(port: int, size: int = 1) -> Exit:
    return Exit(ExitReason.IO, address=port, size=size)
