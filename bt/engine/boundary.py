"""What happens between two instructions: interrupts, traps, breakpoints, the end of the budget. For both engines.

Running one instruction alone serves several ends: the shadow of STI and MOV SS while an interrupt waits, the
single-step flag, breakpoints, an access to a device that Python has just answered, and the last instructions before an
event. The rest of the budget is then set aside in `deferred`, so that the instruction exhausts the budget by itself.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

from bt.codegen.abi import native
from bt.codegen.builder import Local
from bt.codegen.value import PTR, Value
from bt.engine.structures import DELIVERING_EXCEPTION, DELIVERING_INTERRUPT
from bt.x86 import flags
from bt.x86.context import DB, EXIT, FAULT, NMI, OK, Context
from bt.x86.exits import ExitReason
from bt.x86.fp.fp_state import FP_UNLOAD
from bt.x86.services import DELIVER_FAULT, DELIVER_INTERRUPT, INT_EXTERNAL
from bt.x86.state import FAULT_INTERRUPT, FAULT_NO_ERROR
from bt.x86.system.interrupts.breakpoints import (
    INSTRUCTION_BREAKPOINTS,
    report_debug_exception,
)
from bt.x86.system.interrupts.exceptions import (
    note_delivery,
    note_failure,
)
from bt.x86.system.operating_mode import in_64_bit_mode
from bt.x86.system.registers.control_registers import DR6_BS

# Decide what comes before the next instruction. state, budget; answers the budget to go on with, or -1 to leave (the
# budget is then in the state).
BEFORE_NEXT = native("before_next", PTR, "i64", result="i64")
# Deliver what the state's `delivering` says. A frame that goes to a device leaves to Python, and `before_next` calls
# again with the accesses made so far to replay.
DELIVER_PENDING = native("deliver_pending", PTR)


def begin_run(b: Context) -> None:
    """What the engine's run begins with: `budget` and the clock's slots are as the caller wants them."""
    b.put("run_budget", b.get("budget"))
    b.put("exit_beside_ns", b.get("clock_offset"))
    b.put("clock_cycles", b.cycles())


def end_run(b: Context) -> None:
    """What it ends with. From now on nothing is left of the budget, and the count of instructions is `icount_base`."""
    b.call(FP_UNLOAD, b.cpu)
    retired = b.get("run_budget") - b.get("budget")
    b.put("exit_instructions", retired)
    b.put("icount_base", b.get("icount_base") + retired)
    b.put("exit_beside_ns", b.get("clock_offset") - b.get("exit_beside_ns"))
    b.put("budget", 0)
    b.put("run_budget", 0)


# What the state's `service` says: the interpreter works for the translator, until its budget is used up, or until it
# comes to code that is not 64-bit code.
SERVICE, SERVICE_OF_64_BIT_CODE = 1, 2
# What keeps `end_service` from being all that there is to do.
_UNSETTLED = ("access_ns", "loaded_resume_flag", "delivering", "debug_hits", "step_trap", "exit_reason")


def is_end_of_service(b: Context, budget: Value) -> Value:
    """Whether what translated code asked for is done, with nothing that `before_next` would have to see to, i1."""
    return (b.get("service") != 0) & budget.sle(0) & _is_settled(b)


def is_beyond_service(b: Context) -> Value:
    """Whether the interpreter, between two instructions, has come to code that the translator has itself, i1."""
    comes = (b.get("service") == SERVICE_OF_64_BIT_CODE) & ~in_64_bit_mode(b)
    return comes & (b.get("mmio_count") == 0) & _is_settled(b)


def _is_settled(b: Context) -> Value:
    return reduce(or_, (b.get(name) for name in _UNSETTLED)) == 0


# What else keeps `before_next` from being nothing at all: an access to a device, breakpoints, a budget set aside, NMI.
_UNQUIET = (*_UNSETTLED, "mmio_count", "wants_alone", "debugging", "deferred", "nmi_pending")


def is_quiet(b: Context) -> Value:
    """Whether nothing comes before the next instruction as long as the budget lasts, i1: `before_next` would only clear
    `accessed_at`. (A pending NMI may be blocked: that is left to it.)"""
    nothing = reduce(or_, (b.get(name) for name in _UNQUIET)) == 0
    return nothing & ((b.get("eflags_system") & flags.TF) == 0) & ~is_interrupted(b)


def end_service(b: Context, budget: Value) -> None:
    """What `before_next` does then."""
    b.put("accessed_at", 0)
    _forget_accesses(b)
    b.put("budget", budget + b.get("deferred"))
    b.put("deferred", 0)


def deliver(b: Context) -> None:
    """Deliver the exception in `fault_*`, for the first time."""
    _forget_accesses(b)
    b.put("step_trap", 0)  # an instruction that faults has not been stepped over
    b.put("debug_hits", 0)
    b.put("delivering", DELIVERING_EXCEPTION)
    b.put("fault_depth", 0)
    b.call(DELIVER_PENDING, b.cpu)


def _forget_accesses(b: Context) -> None:
    b.put("mmio_count", 0)
    b.put("mmio_used", 0)


def _deliver_debug_exception(b: Context, reasons: Value) -> None:
    """#DB for what these bits of DR6 (i64) say."""
    report_debug_exception(b, reasons)
    b.put("fault_vector", DB)
    b.put("fault_has_error", 0)
    deliver(b)


def emit_deliver_pending(b: Context) -> None:
    """Body of `deliver_pending`."""
    what = b.get("delivering", width=32)
    status = b.local(32, FAULT)
    with b.If(what.uge(DELIVERING_INTERRUPT)):
        # between two iterations of a string instruction RF is pushed as 1 (SDM vol. 3B 18.3.1.1)
        between = (b.get("resume_at") == b.get("icount_base")) & (b.get("run_budget") == 0)
        b.put("pushed_resume_flag", between)
        eip = b.get("eip")
        vector = what - DELIVERING_INTERRUPT
        b.put("fault_depth", 0)
        note_delivery(b, vector.zext(64) | FAULT_INTERRUPT, b.const(FAULT_NO_ERROR, 64))
        status.set(b.call(DELIVER_INTERRUPT, b.cpu, vector, INT_EXTERNAL, eip))
        with b.If(status.get() == FAULT):
            note_failure(b)
            _forget_accesses(b)
            b.put("delivering", DELIVERING_EXCEPTION)
    with b.If(status.get() == FAULT):
        status.set(b.call(DELIVER_FAULT, b.cpu))
    b.put("mmio_used", 0)
    with b.If(status.get() != EXIT):
        b.put("mmio_count", 0)
        b.put("delivering", 0)
        b.put("pushed_resume_flag", 0)
    b.ret(OK)


class _Boundary:
    """Builds `before_next`: one method a step, in the order of SDM vol. 3A table 6-2."""

    def __init__(self, b: Context) -> None:
        self.b = b
        self.budget: Local = b.local(64, b.arguments[1])

    def build(self) -> None:
        b = self.b
        with b.Loop() as loop:
            self._account_for_accesses()
            b.put("accessed_at", 0)
            budget = self.budget.get()
            with b.Unlikely(b.get("loaded_resume_flag") != 0):
                b.put("loaded_resume_flag", 0)
                b.put("resume_at", self._instruction_count())
            with b.Unlikely(self._is_delivering() & budget.sgt(0)):
                b.put("accessed_at", self._instruction_count() + 1)
                b.call(DELIVER_PENDING, b.cpu)
                with b.If(self._is_delivering()):
                    self.budget.set(budget - 1)  # it may go on like this for ever
                loop.continue_()
            with b.If(b.get("exit_reason") != 0):
                self._leave()
            with b.If(budget.sle(0)):
                self._traps()
                self._end_of_budget()
                loop.continue_()
            self.now = self._instruction_count()
            # the delivery of an event hit breakpoints: it may for ever, and costs an instruction
            with b.Unlikely((b.get("debug_hits") != 0) & (b.get("debug_shadow") != self.now)):
                self.budget.set(budget - 1)
                self._traps()
                loop.continue_()
            self.fresh = b.get("mmio_count") == 0  # not in the middle of an instruction
            system = b.get("eflags_system")
            self.alone = b.local(1, ~self.fresh | ((system & flags.TF) != 0))
            with b.Unlikely(b.get("wants_alone") != 0):
                b.put("wants_alone", 0)
                self.alone.set(1)
            with b.Unlikely((b.get("nmi_pending") != 0) & (b.get("nmi_blocked") == 0)):
                self._take_nmi()
                loop.continue_()
            self._open_window()
            with b.Unlikely(b.get("debugging") != 0):
                self.alone.set(1)
                with b.If(self.fresh & (b.get("resume_at") != self.now)):
                    b.put("resume_at", self.now)  # this instruction has been looked at
                    hits = b.call(INSTRUCTION_BREAKPOINTS, b.cpu)
                    with b.If((hits != 0) & (b.get("debug_shadow") != self.now)):
                        _deliver_debug_exception(b, hits.zext(64))
                        self.budget.set(budget - 1)  # a fault costs what its instruction would
                        loop.continue_()
            with b.If(self.alone.get()):
                self._alone()
            b.ret(budget)

    def _is_delivering(self) -> Value:
        """Whether an event is on its way to its handler, i1."""
        return (self.b.get("delivering") != 0) & (self.b.get("exit_reason") == 0)

    def _account_for_accesses(self) -> None:
        """What accesses took that native code served, so many instructions less are left until the next event.

        Taken off both the budget and what it was at first: the count of instructions is their difference.
        """
        b = self.b
        access_ns = b.get("access_ns")
        with b.Unlikely(access_ns != 0):
            b.put("access_ns", 0)
            with b.If(b.get("clock_scale") == 0):  # the host's time passes by itself
                b.put("clock_offset", b.get("clock_offset") + access_ns)
                b.put("run_budget", b.get("run_budget") - access_ns)
                self.budget.set(self.budget.get() - access_ns)

    def _instruction_count(self) -> Value:
        b = self.b
        return b.get("icount_base") + b.get("run_budget") - self.budget.get() - b.get("deferred")

    def _leave(self) -> None:
        b = self.b
        b.put("budget", self.budget.get() + b.get("deferred"))
        b.put("deferred", 0)
        b.put("step_trap", 0)
        b.ret(-1)

    def _traps(self) -> None:
        """Single step and data breakpoints, after an instruction or an event. MOV SS and POP SS lose the first and put
        off the second (SDM vol. 3A 6.8.3)."""
        b = self.b
        _forget_accesses(b)
        reasons = b.get("debug_hits") | (b.get("step_trap") * DR6_BS)
        b.put("step_trap", 0)
        with b.Unlikely(reasons != 0):
            now = self._instruction_count()
            # what the trap itself hit waits for budget to be there
            with b.If((b.get("debug_shadow") != now) & (b.get("trapped_at") != now)):
                b.put("trapped_at", now)
                b.put("pushed_resume_flag", b.get("resume_at") == now)  # between two iterations, as above
                _deliver_debug_exception(b, reasons)

    def _end_of_budget(self) -> None:
        """Leave, or go on with what was set aside."""
        b = self.b
        rest = b.get("deferred")
        b.put("deferred", 0)
        with b.If((rest == 0) & (b.get("exit_reason") == 0) & (b.get("service") == 0)):
            b.put("exit_reason", int(ExitReason.BUDGET))
        with b.If((b.get("exit_reason") != 0) | (b.get("service") != 0)):
            b.put("budget", self.budget.get() + rest)
            b.ret(-1)
        self.budget.set(self.budget.get() + rest)

    def _take_nmi(self) -> None:
        """NMI, unless it must wait for the instruction after MOV SS or the end of this one."""
        b = self.b
        with b.IfElse(self.fresh & (b.get("debug_shadow") != self.now)) as arm:
            with arm.then():
                b.put("nmi_pending", 0)
                b.put("nmi_blocked", 1)
                b.put("delivering", DELIVERING_INTERRUPT + NMI)
            with arm.otherwise():
                self._alone()

    def _alone(self) -> None:
        """Set everything but one instruction aside and go on with that. Ends the function."""
        b = self.b
        system = b.get("eflags_system")
        b.put("step_trap", (system & flags.TF) >> (flags.TF.bit_length() - 1))
        b.put("deferred", b.get("deferred") + self.budget.get() - 1)
        b.put("accessed_at", self.now + 1)
        b.ret(1)

    def _open_window(self) -> None:
        b = self.b
        with b.If(is_interrupted(b)):
            inhibited = b.get("inhibit") == self.now
            with b.If(inhibited):
                self.alone.set(1)
            with b.If(~inhibited & self.fresh):
                b.put("exit_reason", int(ExitReason.INTERRUPT_WINDOW))
                self._leave()


def is_interrupted(b: Context) -> Value:
    """Whether INTR is raised and IF lets it in (i1)."""
    return (b.get("intr_pending") != 0) & ((b.get("eflags_system") & flags.IF) != 0)


def emit_before_next(b: Context) -> None:
    """Body of `before_next`."""
    _Boundary(b).build()
