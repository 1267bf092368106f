"""Where somebody outside wants the guest to be left: before instructions at linear addresses, or of a kind.

It is found out when code is decoded, so that all other code runs as if nobody had asked: a block ends before such an
instruction, which then is a block of its own, never translated and with a handler that leaves. A block does not know at
which linear addresses it will be executed, but its place in its page is part of all of them: that is what decoding
goes by, and the handler compares the whole address.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from bt import arguments
from bt.codegen.abi import Signature, native
from bt.codegen.value import PTR, Value
from bt.engine.structures import BLOCK, BLOCK_BYTES, CONTROL, RECORD
from bt.errors import BadUsage
from bt.memory.access import Body, NativeContext
from bt.x86.context import OK
from bt.x86.opcodes import FORMS
from bt.x86.page import PAGE
from bt.x86.services import CODE_WRITTEN
from bt.x86.state import NEVER

if TYPE_CHECKING:
    from bt.engine.vcpu import Vcpu

MOST_ADDRESSES = 1024
# The table, in bytes from CONTROL.breakpoints on: a bit an offset in a page; a byte a form; how many addresses there
# are; they themselves, 64 bits each.
_FORMS, _COUNT, _ADDRESSES = PAGE // 8, PAGE - 8, PAGE
_TABLE_BYTES = _ADDRESSES + 8 * MOST_ADDRESSES
assert _FORMS + len(FORMS) <= _COUNT

# Whether the guest is to be left before an instruction: state, record, linear address.
IS_BREAKPOINT = native("is_breakpoint", PTR, PTR, "i32")
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
        too_long = RECORD.get(b, record, "handler") == CONTROL.get(b, control, "length_handler")
        marked.set((by_address | _has_form(b, table, record)) & ~too_long)
    return marked.get()


def _has_form(b: NativeContext, table: Value, record: Value) -> Value:
    return b.load(table + (RECORD.get(b, record, "form").zext(64) + _FORMS), 8) != 0


def _is_breakpoint(b: NativeContext) -> None:
    _, record, linear = b.arguments
    control = b.get_pointer("engine")
    table = CONTROL.get_pointer(b, control, "breakpoints")
    with b.Unlikely(CONTROL.get(b, control, "breakpoints") == 0):
        b.ret(0)
    with b.If(_has_form(b, table, record)):
        b.ret(1)
    with (
        b.Range(b.load(table + _COUNT, 64)) as i,
        b.If(b.load(table + (i << 3) + _ADDRESSES, 64) == linear.zext(64)),
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


class Breakpoints:
    """The table of one vCPU, which is made when somebody first wants it."""

    def __init__(self) -> None:
        self._addresses: frozenset[int] = frozenset()
        self._forms: frozenset[int] = frozenset()
        self._table: memoryview | None = None

    def at(self, cpu: Vcpu, addresses: Collection[int]) -> None:
        """Leave before the instructions at these linear addresses, and at no others.

        Code of such pages is decoded anew. Raises BadUsage for more than MOST_ADDRESSES addresses.
        """
        wanted = frozenset(addresses)
        if len(wanted) > MOST_ADDRESSES:
            raise BadUsage(f"{len(wanted)} addresses to stop at: there is room for {MOST_ADDRESSES}")
        for address in wanted:
            arguments.whole_number("address", address, "a linear address of 32 bits is wanted", least=0, most=2**32 - 1)
        changed = {address % PAGE for address in wanted ^ self._addresses}
        if changed:
            self._addresses = wanted
            self._fill(cpu)
        for offset in changed:
            cpu.call(FORGET_OFFSET.name, offset)

    def on(self, cpu: Vcpu, mnemonics: Collection[str]) -> None:
        """Leave before instructions called so, and before no others. All code is decoded anew."""
        forms = frozenset(form.id for form in FORMS if form.name in mnemonics)
        if forms != self._forms:
            self._forms = forms
            self._fill(cpu)
            cpu.flush()

    def pass_once(self, cpu: Vcpu) -> None:
        """Where the processor is now it has stopped already."""
        cpu.set_control("passed_at", cpu.instructions)
        cpu.set_control("passed_eip", cpu.state["eip"])

    def _fill(self, cpu: Vcpu) -> None:
        if self._table is None:
            area = cpu.area(_TABLE_BYTES)
            self._table, self._address = memoryview(area.map), area.address
            cpu.set_control("passed_at", NEVER)
        table = self._table
        table[:_ADDRESSES] = bytes(_ADDRESSES)
        for address in self._addresses:
            table[address % PAGE // 8] |= 1 << address % 8
        for form in self._forms:
            table[_FORMS + form] = 1
        table[_COUNT:_ADDRESSES] = len(self._addresses).to_bytes(8, "little")
        for number, address in enumerate(sorted(self._addresses)):
            at = _ADDRESSES + 8 * number
            table[at : at + 8] = address.to_bytes(8, "little")
        cpu.set_control("breakpoints", self._address if self._addresses or self._forms else 0)
