"""What the translator's parts call each other by: gates, which translated code jumps to, and native functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bt.codegen.abi import FLAT_32, RegisterPlan, Signature, native
from bt.codegen.host_bytes import jump_register
from bt.codegen.value import PTR
from bt.engine.translator.plan.plan import Gate

TRANSLATE = native("translate", PTR, PTR, result="i64")  # state, block; host address of the fragment, 0 = cache full
NEXT_CODE = native("next_code", PTR, result="i64")  # state; where to go on, everything afresh
TRANSLATED = native("translated", PTR, result="i64")  # state; fragment for its eip, or one of these:
LOOK_AFRESH, INTERPRET_ONE = 0, 1  # none, or not before something else; none, its only instruction crosses a page
INTERPRET = native("interpret", PTR, "i64")  # state, instructions
EMIT_STENCIL = native("emit_stencil", PTR, PTR, PTR, "i32", "i64", result="i64")  # state, control, slots, id, at


@dataclass(frozen=True)
class Gates:
    """The gates of translated code whose registers sit where `plan` says."""

    plan: RegisterPlan

    def _gate(self, name: str) -> Signature:
        return self.plan.signature(name + self.plan.suffix)

    @cached_property
    def chain(self) -> Signature:
        """A direct exit inside its page is taken for the first time."""
        return self._gate("chain_gate")

    @cached_property
    def miss(self) -> Signature:
        """The branch cache does not know the target in T."""
        return self._gate("miss_gate")

    @cached_property
    def slow(self) -> Signature:
        """A memory access misses the TLB."""
        return self._gate("slow_gate")

    @cached_property
    def service(self) -> Signature:
        """The interpreter is to execute one instruction."""
        return self._gate("service_gate")

    def instead(self, gate: Gate) -> Signature:
        """What no stencil does is to be done."""
        return self.service if gate is Gate.SERVICE else self._gate(f"{gate.name.lower()}_gate")

    @cached_property
    def head(self) -> Signature:
        """The budget does not cover the block."""
        return self._gate("head_gate")

    @cached_property
    def stale(self) -> Signature:
        """The guest code of the fragment has changed."""
        return self._gate("stale_gate")

    @cached_property
    def fp(self) -> Signature:
        """FP instructions may not simply be executed."""
        return self._gate("fp_gate")

    @cached_property
    def jump_free(self) -> Signature:
        """Raw code: jump to the address in the free argument."""
        return self._gate("jump_free")

    @cached_property
    def leave(self) -> Signature:
        """Raw code: return to `run_bt`."""
        return self._gate("leave_translated")

    @property
    def jump_free_code(self) -> bytes:
        """The jump itself, for the end of stencils that leave an address in the free argument."""
        return jump_register(self.plan.number("free"))


FLAT_32_GATES = Gates(FLAT_32)
