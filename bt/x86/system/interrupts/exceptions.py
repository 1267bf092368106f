"""Exceptions: their classes, double fault, shutdown (SDM vol. 3A 6.5, 6.15 and table 6-5)."""

from __future__ import annotations

from enum import IntEnum

from bt.codegen.value import Value
from bt.x86 import flags
from bt.x86.context import AC, BR, DB, DE, DF, EXIT, FAULT, GP, MF, NM, NP, OK, PF, SS_FAULT, TS, UD, XM, Context
from bt.x86.exits import ExitReason
from bt.x86.services import DELIVER_FAULT, INT_EXCEPTION
from bt.x86.state import CS, FAULT_BYTES, FAULT_CHAIN_ENTRIES, FAULT_FIELDS, FAULT_NO_ERROR
from bt.x86.system.interrupts.interrupt_delivery import DELIVER_EVENT
from bt.x86.system.registers.control_registers import DR7_GD


class ExceptionClass(IntEnum):
    """SDM vol. 3A table 6-4; the double fault has a class of its own because only it leads to shutdown."""

    BENIGN = 0
    CONTRIBUTORY = 1
    PAGE_FAULT = 2
    DOUBLE_FAULT = 3


CLASSES = {
    DE: ExceptionClass.CONTRIBUTORY,
    TS: ExceptionClass.CONTRIBUTORY,
    NP: ExceptionClass.CONTRIBUTORY,
    SS_FAULT: ExceptionClass.CONTRIBUTORY,
    GP: ExceptionClass.CONTRIBUTORY,
    PF: ExceptionClass.PAGE_FAULT,
    DF: ExceptionClass.DOUBLE_FAULT,
}

# (first, second): what a second exception makes of the first. A pair that is missing is handled serially.
ESCALATES_TO_DOUBLE_FAULT = frozenset(
    {
        (ExceptionClass.CONTRIBUTORY, ExceptionClass.CONTRIBUTORY),
        (ExceptionClass.PAGE_FAULT, ExceptionClass.CONTRIBUTORY),
        (ExceptionClass.PAGE_FAULT, ExceptionClass.PAGE_FAULT),
    }
)
ESCALATES_TO_SHUTDOWN = frozenset(
    {
        (ExceptionClass.DOUBLE_FAULT, ExceptionClass.CONTRIBUTORY),
        (ExceptionClass.DOUBLE_FAULT, ExceptionClass.PAGE_FAULT),
        (ExceptionClass.DOUBLE_FAULT, ExceptionClass.DOUBLE_FAULT),
    }
)

# Faults report EFLAGS with RF set, so that the restarted instruction does not meet its own breakpoint again (SDM vol.
# 3B 17.3.1.1); traps and aborts do not. RF is never set in the virtual EFLAGS: any instruction would clear it.
FAULTS = frozenset({DE, BR, UD, NM, TS, NP, SS_FAULT, GP, PF, MF, AC, XM})


def _lookup(b: Context, table: dict[int, ExceptionClass], vector: Value) -> Value:
    """A vector's class, i64: two bits of a constant."""
    packed = sum(value << (2 * key) for key, value in table.items())
    return (b.const(packed, 64) >> (vector << 1 & 63)) & 3


def _is_one_of(pairs: frozenset[tuple[ExceptionClass, ExceptionClass]], first: Value, second: Value) -> Value:
    """Whether (first, second) (i64 each) is in a set of pairs, i1."""
    packed = sum(1 << (a << 2 | c) for a, c in pairs)
    return (first.b.const(packed, 64) >> (first << 2 | second)).trunc(1)


def note_delivery(b: Context, event: Value, error: Value) -> None:
    """Say in the fault chain what is about to be delivered, and where. `event`, `error` (i64): as in FAULT_FIELDS.

    Always, not only when delivery fails: a task switch and a second page fault leave nothing to note afterwards.
    """
    entry = _fault_entry(b)
    for name, value in {
        "event": event,
        "error": error,
        "cr2": b.get("cr2"),
        "cs": b.get_segment(CS, "selector"),
        "cs_base": b.get_segment(CS, "base"),
        "eip": b.get("eip"),
        "mode": b.get("mode"),
        "cr3": b.get("cr3"),
    }.items():
        b.store(entry + 8 * FAULT_FIELDS.index(name), value)


def note_failure(b: Context) -> None:
    """The delivery noted last has raised what is in `fault_*`."""
    entry = _fault_entry(b)
    for name, value in {"raised": b.get("fault_vector"), "raised_error": _pending_error(b)}.items():
        b.store(entry + 8 * FAULT_FIELDS.index(name), value)
    b.put("fault_depth", b.get("fault_depth") + 1)


def _fault_entry(b: Context) -> Value:
    """Pointer to the delivery under way. No chain is longer than its room; were one, its end would be what is kept."""
    depth, last = b.get("fault_depth"), FAULT_CHAIN_ENTRIES - 1
    return b.slot("fault_chain") + b.select(depth.ult(last), depth, last) * FAULT_BYTES


def _pending_error(b: Context) -> Value:
    return b.select(b.get("fault_has_error") != 0, b.get("fault_error"), FAULT_NO_ERROR)


def _deliver_fault(b: Context) -> None:
    """DELIVER_FAULT. All it knows is in the state, so that it can be called again after an EXIT.

    That is for a stack in MMIO; or, without an exit reason, for one failure after the other.
    """
    (cpu,) = b.arguments
    with b.Loop():
        b.put("fault_in_new_task", 0)
        vector = b.get("fault_vector")
        with b.Unlikely((b.get("trap_vectors") >> (vector & 63)).trunc(1)):
            b.put("exit_reason", ExitReason.EXCEPTION)
            b.put("exit_address", vector)
            b.put("exit_value", b.get("fault_error"))
            b.put("exit_extra", b.get("fault_has_error") | (b.get("pushed_resume_flag") << 1))
            b.ret(OK)
        note_delivery(b, vector, _pending_error(b))
        first = _lookup(b, CLASSES, vector)
        is_fault = b.const(sum(1 << n for n in FAULTS), 64) >> (vector & 63)
        resume_flag = ((is_fault.trunc(32) & 1) | b.get("pushed_resume_flag", width=32)) * flags.RF
        status = b.call(
            DELIVER_EVENT,
            cpu,
            vector.trunc(32),
            INT_EXCEPTION,
            b.get("eip"),
            b.get("fault_has_error", width=32),
            b.get("fault_error", width=32),
            resume_flag,
        )
        with b.Likely(status == OK):
            # a debug handler may use the debug registers that general detect guards
            with b.If(vector == DB):
                b.put("dr", b.get("dr", 7) & ~DR7_GD, 7)
            b.ret(OK)
        with b.If(status != FAULT):
            b.ret(status)
        note_failure(b)
        b.retire_accesses()  # of the frame that failed: the next one makes its own
        second = _lookup(b, CLASSES, b.get("fault_vector"))
        with b.If(_is_one_of(ESCALATES_TO_SHUTDOWN, first, second)):
            b.put("exit_reason", ExitReason.SHUTDOWN)
            b.ret(OK)
        with b.If(_is_one_of(ESCALATES_TO_DOUBLE_FAULT, first, second)):
            b.put("fault_vector", DF)
            b.put("fault_has_error", 1)
            b.put("fault_error", 0)
        # No chain of different classes is so long: some benign exception, #AC of a misaligned stack, raises itself.
        # Processors then do nothing else for ever (CVE-2015-5307).
        with b.Unlikely(b.get("fault_depth").uge(FAULT_CHAIN_ENTRIES)):
            b.ret(EXIT)


RUNTIME = ((DELIVER_FAULT, _deliver_fault),)
