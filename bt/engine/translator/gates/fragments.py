"""Which fragment an address has: what the branch cache knows, or has known in an earlier epoch, or its block's."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.engine.blocks import FIND_BLOCK
from bt.engine.boundary import deliver
from bt.engine.branch_tags import branch_cache_offset, branch_tag
from bt.engine.identity.layout import EAGER
from bt.engine.structures import BLOCK, CONTROL, MAX_BLOCK_INSNS, NO_PAGE, RECORD
from bt.engine.translator.emit.emit import PLACE_BYTES
from bt.engine.translator.gates.interpreted import is_translatable
from bt.engine.translator.gates.signatures import (
    INTERPRET,
    INTERPRET_ONE,
    LOOK_AFRESH,
    NEXT_CODE,
    TRANSLATE,
    TRANSLATED,
)
from bt.memory.access import NativeContext
from bt.memory.backend import ACCESS_FETCH, RESOLVE
from bt.memory.physical import PhysicalPage
from bt.x86.context import FAULT, OK
from bt.x86.exits import ExitReason
from bt.x86.mode import CS_4_GIB, LONG_TAG, MODE_BITS
from bt.x86.system.operating_mode import instruction_linear
from bt.x86.system.paging.fetched_pages import note_fetch

COUNTED_TAG = LONG_TAG
"""Of 64-bit code there are no tags in this branch cache. What has it generated code does not find: fragments that are
counted when they are come to, and INTERPRET_ONE for an instruction that crosses a page."""
TAG_WITHOUT_EPOCH = (1 << 32 + MODE_BITS) - 1


def emit_translated(b: NativeContext) -> None:
    """Body of `translated`."""
    # with no budget left, looking would already be visible: as a fetch fault, or in the accessed bits of page tables
    with b.If(~is_translatable(b) | b.get("budget").sle(0)):
        b.ret(LOOK_AFRESH)
    entry = branch_entry(b, b.get("eip"))
    crossing_tag = branch_tag(b, b.get("eip")) | COUNTED_TAG
    with b.If((b.load(entry, 64) == crossing_tag) & (b.load(entry + 8, 64) == INTERPRET_ONE)):
        b.ret(INTERPRET_ONE)
    block = b.call(FIND_BLOCK, b.cpu)
    with b.Unlikely(block == 0):
        control = b.get_pointer("engine")
        with b.If(CONTROL.get(b, control, "status") == FAULT):
            b.put("budget", b.get("budget") - 1)
            deliver(b)
        b.ret(LOOK_AFRESH)
    handler = RECORD.get(b, BLOCK.get_pointer(b, block, "records"), "handler")
    with b.Unlikely(handler == CONTROL.get(b, b.get_pointer("engine"), "breakpoint_handler")):
        b.ret(LOOK_AFRESH)
    with b.If(BLOCK.get(b, block, "physical2") != NO_PAGE):
        b.store(entry, crossing_tag)  # so in this epoch the block need not be found again
        b.store(entry + 8, b.const(INTERPRET_ONE, 64))
        b.ret(INTERPRET_ONE)
    host = b.local(64, BLOCK.get(b, block, "host"))
    with b.If(host.get() == 0):
        with b.If(~PhysicalPage(b, BLOCK.get(b, block, "physical")).is_memory):
            b.ret(LOOK_AFRESH)
        host.set(b.call(TRANSLATE, b.cpu, block))
        with b.Unlikely(host.get() == 0):
            b.put("exit_reason", int(ExitReason.CACHE_FULL))
            b.ret(LOOK_AFRESH)
    b.put("block", block.zext(64))
    b.ret(host.get())


def fragment(b: NativeContext) -> Value:
    """The fragment for state's eip; if there is none, return with where to go on."""
    host = b.call(TRANSLATED, b.cpu)
    with b.If(host.ule(INTERPRET_ONE)):
        with b.If(host == INTERPRET_ONE):
            b.call(INTERPRET, b.cpu, 1)
        b.ret(b.call(NEXT_CODE, b.cpu))
    return host


def branch_entry(b: NativeContext, eip: Value) -> Value:
    return b.slot("branch_cache") + branch_cache_offset(eip)


def remember(b: NativeContext, eip: Value, host: Value, *, counted: bool = False) -> None:
    """Have the branch cache know where `eip` leads; `counted`: for `counted_fragment` alone."""
    entry = branch_entry(b, eip)
    b.store(entry, branch_tag(b, eip) | (COUNTED_TAG * counted))
    b.store(entry + 8, host)


def _is_tagged(b: NativeContext, eip: Value, tag: Value, budget: Value) -> Value:
    """Whether the entry of `eip` has a tag, and its fragment may be entered with that budget, whichever it is; i1."""
    return (b.load(branch_entry(b, eip), 64) == tag) & budget.sge(MAX_BLOCK_INSNS)


def known_fragment(b: NativeContext, eip: Value) -> Value:
    """As `fragment`, for this EIP (i32); the branch cache may know it, and does from then on."""
    with b.If(_is_tagged(b, eip, branch_tag(b, eip), b.get("budget"))):
        b.ret(b.load(branch_entry(b, eip) + 8, 64))
    host = recalled_or_found(b, eip.zext(64))
    remember(b, eip, host)
    return host


def recall(b: NativeContext, eip: Value) -> Value:
    """The fragment that the branch cache knew for state's eip before a new epoch began, if that is still it; else 0.

    Kernels begin an epoch with each process. What a fragment is for is its mode, which the tag has, and the place that
    the address leads to now: to look at that beside the fragment spares the way to the block, through memory that no
    cache of the host has any more.
    """
    entry = branch_entry(b, eip)
    other_epoch = ((b.load(entry, 64) ^ branch_tag(b, eip)) & TAG_WITHOUT_EPOCH) == 0
    everywhere = (b.get("mode") & CS_4_GIB) != 0
    host = b.local(64, 0)
    with b.If(other_epoch & everywhere & b.get("budget").sge(MAX_BLOCK_INSNS)):
        linear = instruction_linear(b)
        status = b.call(RESOLVE, b.cpu, linear, 0, ACCESS_FETCH)
        with b.If(status == OK):
            note_fetch(b, linear)
            known = b.load(entry + 8, 64)
            with b.If(known.ugt(INTERPRET_ONE)):
                place = b.load((known - PLACE_BYTES).to_pointer(), 64)
                with b.If(place == b.get("exit_address")):
                    host.set(known)
    return host.get()


def recalled_or_found(b: NativeContext, eip: Value) -> Value:
    """As `fragment`, for this EIP (i64); `block` of the state is left as it is if the branch cache has known it."""
    host = b.local(64, recall(b, eip))
    with b.If(host.get() == 0):
        host.set(fragment(b))
    return host.get()


def counted_fragment(b: NativeContext, eip: Value) -> Value:
    """As `fragment`, for this EIP (i32), whose being come to is counted each time: what the branch cache
    knows of it then it gives to nobody but this."""
    known = _is_tagged(b, eip, branch_tag(b, eip) | COUNTED_TAG, b.get("budget"))
    host = b.local(64, b.load(branch_entry(b, eip) + 8, 64))
    with b.If(~known | host.get().ule(INTERPRET_ONE)):
        host.set(recalled_or_found(b, eip.zext(64)))
    return host.get()


def is_known(b: NativeContext, eip: Value, budget: Value) -> Value:
    """Whether the branch cache may be trusted to know this EIP (i64), and does, i1."""
    return _is_tagged(b, eip, branch_tag(b, eip), budget) & (b.get("recording") == 0) & (b.get("heat_limit") != EAGER)
