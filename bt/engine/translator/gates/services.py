"""What stencils do not do, done by the interpreter, an instruction at a time; and faults, which need none of it."""

from __future__ import annotations

from bt.codegen.abi import Signature
from bt.codegen.value import Value
from bt.engine.boundary import SERVICE, deliver, is_interrupted
from bt.engine.interp.context import DISPATCH
from bt.engine.structures import CONTROL, RECORD, SITE
from bt.engine.translator.gates.gates import SERVICE_EXIT, count_event, go_on, note_site, site_of
from bt.memory.access import Body, NativeContext


def _service_exit(b: NativeContext) -> None:
    """The interpreter executes one instruction of a fragment; then on behind it, if nothing has changed."""
    count_event(b, "services")
    site = site_of(b)
    note_site(b, site)
    refund = SITE.get(b, site, "refund").zext(64)
    stays, left = interpret_one(b, SITE.get_pointer(b, site, "record"), refund)
    with b.If(stays & (SITE.get(b, site, "ends") == 0) & left.sge(0)):
        b.put("budget", left)
        b.ret(SITE.get(b, site, "retry"))
    go_on(b)


def raise_fault(b: NativeContext, site: Value) -> None:
    """Deliver the exception in `fault_*` at the instruction of a site, of which nothing has been done; then go on."""
    note_site(b, site)
    left = b.get("budget") + SITE.get(b, site, "refund").zext(64) - 1
    b.put("budget", left)
    b.put("accessed_at", b.get("icount_base") + b.get("run_budget") - left)
    b.put("eip", SITE.get(b, site, "eip"))
    deliver(b)
    go_on(b)


def interpret_one(b: NativeContext, record: Value, refund: Value) -> tuple[Value, Value]:
    """Have the interpreter execute one instruction, on which `refund` of the budget (i64) has been charged before.

    Answers whether what follows it may go on (i1), and the budget that it has then, everything charged as before.
    """
    b.put("eip", RECORD.get(b, record, "eip"))
    control = b.get_pointer("engine")
    counter = CONTROL.get_pointer(b, control, "callouts") + (RECORD.get(b, record, "form").zext(64) << 3)
    b.store(counter, b.load(counter, 64) + 1)
    tag = b.get("code_tag")
    deferred = b.get("budget") + refund - 1
    b.put("deferred", deferred)
    b.put("accessed_at", b.get("icount_base") + b.get("run_budget") - deferred)
    b.put("service", SERVICE)
    handler = RECORD.get_pointer(b, record, "handler")
    b.call_pointer(handler, DISPATCH, record, b.cpu, 0, 1)
    b.put("service", 0)
    unmoved = b.get("eip", width=32) == RECORD.get(b, record, "next_eip")
    stays = (b.get("exit_reason") == 0) & unmoved & (b.get("code_tag") == tag)
    stays = stays & (RECORD.get_pointer(b, record, "handler") == handler)
    stays = stays & ~is_interrupted(b)  # the native code of a device may have raised one
    return stays, b.get("budget") - (refund - 1)  # an access to a device may have used it up


RUNTIME: tuple[tuple[Signature, Body], ...] = ((SERVICE_EXIT, _service_exit),)
