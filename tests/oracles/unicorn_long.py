"""Unicorn in 64-bit mode: runs cases that end without an exception, all that it can be believed about there.

It runs at CPL 0 without paging and without descriptors of ours, and does not look for canonical addresses.
"""

# unicorn's Python files are found by mypy but bear no types
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import unicorn
from unicorn import x86_const as x86
from unicorn.unicorn_py3.unicorn import Uc, UcError

from tests.cases import layout
from tests.cases.model import EFLAGS_FIXED, LONG_REGISTERS, VISIBLE_FLAGS, Case, ExecutorError, Outcome, State
from tests.oracles.unicorn_cpu import INSTRUCTION_LIMIT

_GPRS = tuple(getattr(x86, f"UC_X86_REG_{name.upper()}") for name in LONG_REGISTERS)


class UnicornLong:
    """Executor of 64-bit cases."""

    def __init__(self) -> None:
        self._machine = machine = Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        for region in layout.REGIONS:
            writable = unicorn.UC_PROT_WRITE if region.writable else 0
            machine.mem_map(region.start, region.size, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC | writable)
        self._fresh = machine.context_save()

    def run(self, case: Case) -> Outcome:
        """Run one case. ExecutorError if it does not end as the case says: at its end, or at a HLT."""
        machine = self._machine
        machine.context_restore(self._fresh)
        for start, image in case.images().items():
            machine.mem_write(start, image)
        machine.ctl_remove_cache(layout.CODE.start, layout.CODE.end)
        for register, value in zip(_GPRS, case.start.registers, strict=True):
            machine.reg_write(register, value)
        machine.reg_write(x86.UC_X86_REG_RFLAGS, case.start.eflags)
        try:
            machine.emu_start(case.start.eip, case.end, 0, case.steps or INSTRUCTION_LIMIT)
        except UcError as error:
            raise ExecutorError(f"{case.where or 'case'}: {case}: {error} in Unicorn") from None
        rip = machine.reg_read(x86.UC_X86_REG_RIP)
        memory = {region.start: bytes(machine.mem_read(region.start, region.size)) for region in layout.REGIONS}
        registers = tuple(machine.reg_read(register) for register in _GPRS)
        eflags = machine.reg_read(x86.UC_X86_REG_RFLAGS) & VISIBLE_FLAGS | EFLAGS_FIXED
        halted = rip != case.end and case.steps is None  # behind the HLT
        return Outcome(State(registers, rip - halted, eflags, memory))
