"""Breakpoints in generated code: which instructions the guest is left before, by the table of breakpoints.py."""

from __future__ import annotations

from bt.codegen.abi import Signature, native
from bt.codegen.value import PTR, Value
from bt.engine.breakpoints import ADDRESSES_AT, COUNT_AT, FORMS_AT
from bt.engine.structures import BLOCK, BLOCK_BYTES, CONTROL, RECORD
from bt.memory.access import Body, NativeContext
from bt.x86.context import OK
from bt.x86.opcodes import FORMS
from bt.x86.page import PAGE
from bt.x86.services import CODE_WRITTEN

assert FORMS_AT + len(FORMS) <= COUNT_AT

# Whether the guest is to be left before an instruction: state, record, linear address.
IS_BREAKPOINT = native("is_breakpoint", PTR, PTR, "i64")
# Forget the blocks that have code at this offset of their page: state, offset.
FORGET_OFFSET = native("forget_offset", PTR, "i32")


def is_marked(b: NativeContext, control: Value, record: Value, physical: Value) -> Value:
    """Whether the instruction of a record, just decoded, needs the handler that asks (i1)."""
    marked = b.local(1, 0)
    with b.Unlikely(CONTROL.get(b, control, "breakpoints") != 0):
        table = CONTROL.get_pointer(b, control, "breakpoints")
        place = physical & (PAGE - 1)
        bits = b.load(table + (place >> 3), 8).zext(64)
        by_address = ((bits >> (place & 7)) & 1) != 0
        handler = RECORD.get(b, record, "handler")
        too_long = handler == CONTROL.get(b, control, "length_handler")
        too_long = too_long | (handler == CONTROL.get(b, control, "long_length_handler"))
        marked.set((by_address | _has_form(b, table, record)) & ~too_long)
    return marked.get()


def _has_form(b: NativeContext, table: Value, record: Value) -> Value:
    return b.load(table + (RECORD.get(b, record, "form").zext(64) + FORMS_AT), 8) != 0


def _is_breakpoint(b: NativeContext) -> None:
    _, record, linear = b.arguments
    control = b.get_pointer("engine")
    table = CONTROL.get_pointer(b, control, "breakpoints")
    with b.Unlikely(CONTROL.get(b, control, "breakpoints") == 0):
        b.ret(0)
    with b.If(_has_form(b, table, record)):
        b.ret(1)
    with (
        b.Range(b.load(table + COUNT_AT, 64)) as i,
        b.If(b.load(table + (i << 3) + ADDRESSES_AT, 64) == linear),
    ):
        b.ret(1)
    b.ret(0)


def _forget_offset(b: NativeContext) -> None:
    _, offset = b.arguments
    control = b.get_pointer("engine")
    wanted = offset.zext(64)
    blocks = CONTROL.get_pointer(b, control, "blocks_base")
    with b.Range(CONTROL.get(b, control, "blocks_next") - 1) as i:
        block = blocks + ((i + 1) * BLOCK_BYTES)
        physical = BLOCK.get(b, block, "physical")
        start = physical & (PAGE - 1)
        inside = (wanted - start).ult(BLOCK.get(b, block, "bytes").zext(64))
        with b.If(inside & (BLOCK.get(b, block, "dead") == 0)):
            b.call(CODE_WRITTEN, b.cpu, (physical & -PAGE) + wanted, 1)
    b.ret(OK)


RUNTIME: tuple[tuple[Signature, Body], ...] = ((IS_BREAKPOINT, _is_breakpoint), (FORGET_OFFSET, _forget_offset))
