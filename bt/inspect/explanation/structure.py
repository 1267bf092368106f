"""The engine's structures as Python sees them, and the look-up of the block that comes next."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from bt.codegen.layout import Layout
from bt.engine.linear import translate
from bt.engine.structures import BLOCK
from bt.engine.vcpu import Vcpu
from bt.inspect.code import code_base
from bt.x86.exits import ExitReason

# Slots that a look-up of code may change although the guest does nothing.
_LOOKUP_SLOTS = ("cr2", "fault_vector", "fault_error", "fault_has_error", "memory_value", "exit_reason",
    "exit_address", "exit_value")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure in memory: `block["eip"]`. Valid as long as the engine keeps it."""

    layout: Layout
    address: int  # host

    def __getitem__(self, name: str) -> int:
        at = self.address + self.layout.offsets[name]
        return int.from_bytes(ctypes.string_at(at, self.layout.widths[name] // 8), "little")


def find_block(cpu: Vcpu) -> Structure | None:
    """The BLOCK at CS:EIP, decoded if need be; None where no code can be fetched.

    The guest does not notice, except that the accessed bits of its code page are set before the fetch itself sets them.
    """
    if translate(cpu, code_base(cpu) + cpu.state["eip"]).physical is None:
        return None
    saved = {name: cpu.state[name] for name in _LOOKUP_SLOTS}
    find = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(cpu.library.symbols["find_block"])
    while True:
        cpu.state["exit_reason"] = 0
        found: int | None = find(cpu.state.pointer)
        reason = cpu.state["exit_reason"] if found is None else 0
        if reason != ExitReason.CACHE_FULL:
            break
        cpu.flush()
    for name, value in saved.items():
        cpu.state[name] = value
    return None if found is None else Structure(BLOCK, found)
