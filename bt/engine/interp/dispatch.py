"""The interpreter's continuations: what runs between instructions when they do not simply follow each other."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.builder import Module
from bt.codegen.value import PTR, Value
from bt.engine.blocks import FIND_BLOCK
from bt.engine.boundary import (
    BEFORE_NEXT,
    begin_run,
    deliver,
    end_run,
    end_service,
    is_beyond_service,
    is_end_of_service,
)
from bt.engine.branch_tags import branch_cache_offset, branch_tag
from bt.engine.breakpoint_code import IS_BREAKPOINT
from bt.engine.interp.context import (
    CONTINUATIONS,
    DISPATCH,
    LEAVE,
    LONG_CONTINUATIONS,
    HandlerContext,
)
from bt.engine.structures import BLOCK, CONTROL, LONG_VARIANTS, VARIANT_REPNZ, VARIANT_REPZ, VARIANTS
from bt.x86.context import FAULT, Context
from bt.x86.exits import ExitReason
from bt.x86.state import CS
from bt.x86.system.operating_mode import in_64_bit_mode

# Run from state's eip until something leaves to Python; state's budget is what it may use and what is left.
RUN_INTERP = native("run_interp", PTR)


def _dispatch(b: HandlerContext) -> None:
    with b.If(is_end_of_service(b, b.budget) | is_beyond_service(b)):
        end_service(b, b.budget)
        b.go(LEAVE)
    budget = b.call(BEFORE_NEXT, b.cpu, b.budget)
    with b.Unlikely(budget.slt(0)):
        b.go(LEAVE)
    b.budget = budget
    with b.Unlikely(in_64_bit_mode(b)):
        b.go(LONG_CONTINUATIONS.look_up)
    b.run_from(b.get("eip", width=32))


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
    eip = b.get("eip", width=b.address_width)
    entry = b.slot("record_cache") + branch_cache_offset(eip)
    b.store(entry, branch_tag(b, eip))
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
    # the instruction will run again: give its budget back and forget what this attempt replayed and hit
    b.put("mmio_used", 0)
    b.put("debug_hits", 0)
    b.budget = b.budget + 1
    b.go(DISPATCH)


def _exhausted(b: HandlerContext) -> None:
    b.put("eip", b.this_eip())
    b.go(DISPATCH)


def _stale(b: HandlerContext) -> None:
    b.put("eip", b.this_eip())
    b.go(b.continuations.look_up)


def _chain(b: HandlerContext) -> None:
    b.put("eip", b.this_eip())
    b.run_from(b.this_eip())


def _too_long(b: HandlerContext) -> None:
    b.begin()
    b.fault(13, 0)  # an instruction of more than 15 bytes is #GP(0) (SDM vol. 3A 6.15, interrupt 13)


def _breakpoint(b: HandlerContext) -> None:
    """Leave before the instruction, unless the guest was left there already; then do what its own handler does."""
    with b.Unlikely(b.budget.sle(0)):
        b.go(b.continuations.exhausted)
    control, eip, now = b.get_pointer("engine"), b.this_eip(), b.icount()
    has_passed = CONTROL.get(b, control, "passed_at") == now
    has_passed = has_passed & (CONTROL.get(b, control, "passed_eip") == eip.zext(64))
    with b.If(~has_passed):
        linear = b.segment_linear(CS, eip).zext(64)
        with b.If(b.call(IS_BREAKPOINT, b.cpu, b.record, linear) != 0):
            CONTROL.put(b, control, "passed_at", now)
            CONTROL.put(b, control, "passed_eip", eip.zext(64))
            b.put("exit_reason", int(ExitReason.BREAKPOINT))
            b.put("exit_address", linear)
            b.put("eip", eip)
            b.go(DISPATCH)
    variant = b.field("variant")
    with b.If((variant & (VARIANT_REPZ | VARIANT_REPNZ)) != 0):  # it may come back here to repeat
        CONTROL.put(b, control, "passed_at", now + 1)
        CONTROL.put(b, control, "passed_eip", eip.zext(64))
    number = b.field("form").zext(64) * (LONG_VARIANTS if b.long else VARIANTS) + variant.zext(64)
    handlers = CONTROL.get_pointer(b, control, "long_handlers" if b.long else "handlers")
    target = b.load(handlers + (number << 3), PTR)
    b.tail_call(target, b.signature, [b.record, b.cpu, "poison", b.budget])


def _leave(b: HandlerContext) -> None:
    b.ret()


def emit_run_interp(b: Context) -> None:
    """Body of `run_interp`."""
    begin_run(b)
    b.call(DISPATCH, b.const(0, PTR), b.cpu, 0, b.get("budget"))
    end_run(b)


def emit_dispatch(module: Module) -> None:
    """Add all continuations to a module."""
    bodies = (_look_up, _trouble, _exhausted, _stale, _chain, _too_long, _breakpoint)
    for signature, body, long in (
        (DISPATCH, _dispatch, False),
        (LEAVE, _leave, False),
        *zip(CONTINUATIONS, bodies, (False,) * len(bodies), strict=True),
        *zip(LONG_CONTINUATIONS, bodies, (True,) * len(bodies), strict=True),
    ):
        b = HandlerContext(module, signature, long=long)
        body(b)
        b.finish()
