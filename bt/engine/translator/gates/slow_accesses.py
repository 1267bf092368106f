"""Accesses to memory that a stencil does not find in the TLB, on their cold path."""

from __future__ import annotations

from bt.codegen.abi import Signature
from bt.codegen.value import Value
from bt.engine.structures import CONTROL, RECORD, SITE
from bt.engine.translator.gates.gates import (
    HEAD_EXIT,
    SERVICE_EXIT,
    SLOW_EXIT,
    count_event,
    note_site,
    site_of,
)
from bt.engine.translator.gates.services import raise_fault
from bt.engine.translator.plan.plan import Linear
from bt.memory.access import ACCESS_CODE, Body, NativeContext
from bt.memory.backend import RESOLVE
from bt.x86.context import FAULT, OK
from bt.x86.mode import ALIGNMENT_FREE
from bt.x86.page import PAGE
from bt.x86.state import EBP, EDI, ESI, ESP, SS


def _slow_exit(b: NativeContext) -> None:
    """A TLB miss: fill and start the stencil again, or have the interpreter do the instruction."""
    count_event(b, "slow_paths")
    site = site_of(b)
    linear = b.local(32, b.get("scratch", width=32))
    size = SITE.get(b, site, "size").zext(32)

    def on_stack(offset: Value) -> None:
        linear.set(b.segment_linear(SS, offset & b.stack_mask()))

    which = SITE.get(b, site, "linear")
    with b.Unlikely(which != Linear.T), b.Switch(which) as cases:
        with cases.case(Linear.PUSH):
            on_stack(b.get("gpr", ESP, width=32) - size)
        with cases.case(Linear.POP):
            on_stack(b.get("gpr", ESP, width=32))
        with cases.case(Linear.FRAME):
            on_stack(b.get("gpr", EBP, width=32))
        for string, register in ((Linear.SOURCE, ESI), (Linear.DESTINATION, EDI)):
            with cases.case(string):
                linear.set(b.get("gpr", register, width=32))
    write = SITE.get(b, site, "write").zext(32)
    inside = ((linear.get() & (PAGE - 1)) + size).ule(PAGE)
    with b.If(inside):
        status = b.call(RESOLVE, b.cpu, linear.get().zext(64), write, 0)
        control, record = b.get_pointer("engine"), SITE.get_pointer(b, site, "record")
        stale = RECORD.get(b, record, "handler") == CONTROL.get(b, control, "stale_handler")
        with b.Unlikely(stale):  # the walk wrote an accessed bit into this very block
            note_site(b, site)
            b.ret(b.call(HEAD_EXIT, b.cpu, b.arguments[1]))
        with b.If((status == OK) & ACCESS_CODE.probe(b, linear.get(), size, write=write != 0).hit):
            b.ret(SITE.get(b, site, "retry"))
        alignment_free = (b.get("mode") & ALIGNMENT_FREE) != 0  # where it is checked, #AC comes first
        with b.If((status == FAULT) & alignment_free):
            raise_fault(b, site)  # the interpreter would walk to it again
    b.ret(b.call(SERVICE_EXIT, b.cpu, b.arguments[1]))


RUNTIME: tuple[tuple[Signature, Body], ...] = ((SLOW_EXIT, _slow_exit),)
