"""The interpreter's continuations: what runs between instructions when they do not simply follow each other.

Running one instruction alone serves four ends: the shadow of STI and MOV SS while an interrupt waits, the single-step
flag, an access to a device that Python has just answered, and the last instructions before an event. The rest of the
budget is then set aside in `deferred`, so that the instruction exhausts the budget by itself.
"""

from __future__ import annotations

from bt.codegen.abi import handler, native
from bt.codegen.builder import Module
from bt.codegen.value import PTR, Value
from bt.engine.blocks import FIND_BLOCK
from bt.engine.interp.context import (
    DISPATCH,
    EXHAUSTED,
    LEAVE,
    LOOK_UP,
    TROUBLE,
    HandlerContext,
    record_cache_offset,
)
from bt.engine.structures import BLOCK, CONTROL, DELIVERING_EXCEPTION, DELIVERING_INTERRUPT
from bt.x86 import flags
from bt.x86.context import DB, EXIT, FAULT, OK, Context
from bt.x86.exits import ExitReason
from bt.x86.services import DELIVER_FAULT, DELIVER_INTERRUPT, INT_EXTERNAL
from bt.x86.system.fp_state import FP_UNLOAD

# Run from state's eip until something leaves to Python; state's budget is what it may use and what is left.
RUN_INTERP = native("run_interp", PTR)
# Shared by both engines: decide what comes before the next instruction. state, budget; answers the budget to go on
# with, or -1 to leave (the budget is then in the state).
BEFORE_NEXT = native("before_next", PTR, "i64", result="i64")
# Deliver what the state's `delivering` says. A frame that goes to a device leaves to Python, and `before_next` calls
# again with the accesses made so far to replay.
DELIVER_PENDING = native("deliver_pending", PTR)
STALE_HANDLER, CHAIN_HANDLER, LENGTH_HANDLER = "interp_stale", "interp_chain", "interp_too_long"
DR6_SINGLE_STEP = 1 << 14


def deliver(b: Context) -> None:
    """Deliver the exception in `fault_*`, for the first time."""
    _forget_accesses(b)
    b.put("step_trap", 0)  # an instruction that faults has not been stepped over
    b.put("delivering", DELIVERING_EXCEPTION)
    b.call(DELIVER_PENDING, b.cpu)


def _forget_accesses(b: Context) -> None:
    b.put("mmio_count", 0)
    b.put("mmio_used", 0)


def emit_deliver_pending(b: Context) -> None:
    """Body of `deliver_pending`."""
    what = b.get("delivering", width=32)
    status = b.local(32, FAULT)
    with b.If(what.uge(DELIVERING_INTERRUPT)):
        eip = b.get("eip", width=32)
        status.set(b.call(DELIVER_INTERRUPT, b.cpu, what - DELIVERING_INTERRUPT, INT_EXTERNAL, eip))
        with b.If(status.get() == FAULT):
            _forget_accesses(b)
            b.put("delivering", DELIVERING_EXCEPTION)
    with b.If(status.get() == FAULT):
        status.set(b.call(DELIVER_FAULT, b.cpu))
    b.put("mmio_used", 0)
    with b.If(status.get() != EXIT):
        b.put("mmio_count", 0)
        b.put("delivering", 0)
    b.ret(OK)


def emit_before_next(b: Context) -> None:
    """Body of `before_next`: interrupt window, single step, replayed device access, end of budget."""
    b.put("site", 0)
    budget = b.arguments[1]
    with b.Unlikely((b.get("delivering") != 0) & (b.get("exit_reason") == 0)):
        b.call(DELIVER_PENDING, b.cpu)
    with b.If(b.get("exit_reason") != 0):
        _save_budget(b, budget)
        b.ret(-1)
    with b.If(budget.sle(0)):
        _forget_accesses(b)
        with b.If(b.get("step_trap") != 0):
            b.put("dr", b.get("dr", 6) | DR6_SINGLE_STEP, 6)
            b.put("fault_vector", DB)
            b.put("fault_has_error", 0)
            deliver(b)
        rest = b.get("deferred")
        b.put("deferred", 0)
        with b.If((rest == 0) & (b.get("exit_reason") == 0) & (b.get("service") == 0)):
            b.put("exit_reason", int(ExitReason.BUDGET))
        with b.If((b.get("exit_reason") != 0) | (b.get("service") != 0)):
            b.put("budget", budget + rest)
            b.ret(-1)
        b.ret(b.call(BEFORE_NEXT, b.cpu, rest))
    system = b.get("eflags_system")
    waiting = (b.get("intr_pending") != 0) & ((system & flags.IF) != 0)
    alone = b.local(1, (b.get("mmio_count") != 0) | ((system & flags.TF) != 0))
    with b.If(waiting):
        now = b.get("icount_base") + b.get("run_budget") - budget - b.get("deferred")
        with b.If(b.get("inhibit") == now):
            alone.set(1)
        with b.If((b.get("inhibit") != now) & (b.get("mmio_count") == 0)):
            b.put("exit_reason", int(ExitReason.INTERRUPT_WINDOW))
            _save_budget(b, budget)
            b.ret(-1)
    with b.If(alone.get()):
        b.put("step_trap", (system & flags.TF) >> (flags.TF.bit_length() - 1))
        b.put("deferred", b.get("deferred") + budget - 1)
        b.ret(1)
    b.ret(budget)


def _save_budget(b: Context, budget: Value) -> None:
    b.put("budget", budget + b.get("deferred"))
    b.put("deferred", 0)
    b.put("step_trap", 0)


def _dispatch(b: HandlerContext) -> None:
    budget = b.call(BEFORE_NEXT, b.cpu, b.budget)
    with b.Unlikely(budget.slt(0)):
        b.go(LEAVE)
    b.budget = budget
    b.go(LOOK_UP)


def _look_up(b: HandlerContext) -> None:
    with b.Unlikely(b.budget.sle(0)):
        b.go(DISPATCH)
    block = b.call(FIND_BLOCK, b.cpu)
    with b.Unlikely(block == 0):
        control = b.get_pointer("engine")
        status = CONTROL.get(b, control, "status")
        with b.If(status == FAULT):
            _deliver(b, b.budget - 1)
        b.go(DISPATCH)
    records = BLOCK.get_pointer(b, block, "records")
    eip = b.get("eip", width=32)
    entry = b.slot("record_cache") + record_cache_offset(eip)
    b.store(entry, b.get("code_tag") | eip.zext(64))
    b.store(entry + 8, records)
    b.go_record(records)


def _deliver(b: HandlerContext, budget: Value) -> None:
    deliver(b)
    b.go(DISPATCH, budget=budget)


def _trouble(b: HandlerContext) -> None:
    with b.Likely(b.get("fault_in_new_task") == 0):
        b.put("eip", b.this_eip())
    with b.If(b.free == FAULT):
        _deliver(b, b.budget)
    # the instruction will run again: give its budget back and forget what this attempt replayed
    b.put("mmio_used", 0)
    b.budget = b.budget + 1
    b.go(DISPATCH)


def _exhausted(b: HandlerContext) -> None:
    b.put("eip", b.this_eip())
    b.go(DISPATCH)


def _stale(b: HandlerContext) -> None:
    b.put("eip", b.this_eip())
    b.go(LOOK_UP)


def _chain(b: HandlerContext) -> None:
    b.put("eip", b.this_eip())
    b.run_from(b.this_eip())


def _too_long(b: HandlerContext) -> None:
    b.begin()
    b.fault(13, 0)  # an instruction of more than 15 bytes is #GP(0) (SDM vol. 3A 6.15, interrupt 13)


def _leave(b: HandlerContext) -> None:
    b.ret()


def emit_run_interp(b: Context) -> None:
    """Body of `run_interp`."""
    b.call(DISPATCH, b.const(0, PTR), b.cpu, 0, b.get("budget"))
    b.call(FP_UNLOAD, b.cpu)


def emit_dispatch(module: Module) -> None:
    """Add all continuations to a module."""
    for signature, body in (
        (DISPATCH, _dispatch),
        (LOOK_UP, _look_up),
        (TROUBLE, _trouble),
        (EXHAUSTED, _exhausted),
        (LEAVE, _leave),
        (handler(STALE_HANDLER), _stale),
        (handler(CHAIN_HANDLER), _chain),
        (handler(LENGTH_HANDLER), _too_long),
    ):
        b = HandlerContext(module, signature)
        body(b)
        b.finish()
