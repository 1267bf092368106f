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
from bt.errors import BadUsage
from bt.x86.page import PAGE
from bt.x86.state import NEVER

if TYPE_CHECKING:
    from bt.engine.vcpu import Vcpu

MOST_ADDRESSES = 1024
# The table, in bytes from CONTROL.breakpoints on: a bit an offset in a page; a byte a form; how many addresses there
# are; they themselves, 64 bits each.
FORMS_AT, COUNT_AT, ADDRESSES_AT = PAGE // 8, PAGE - 8, PAGE
TABLE_BYTES = ADDRESSES_AT + 8 * MOST_ADDRESSES


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
            cpu.call("forget_offset", offset)

    def on(self, cpu: Vcpu, mnemonics: Collection[str]) -> None:
        """Leave before instructions called so, and before no others. All code is decoded anew."""
        from bt.x86.opcodes import FORMS  # 20 ms that an ordinary start can do without

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
            area = cpu.area(TABLE_BYTES)
            self._table, self._address = memoryview(area.map), area.address
            cpu.set_control("passed_at", NEVER)
        table = self._table
        table[:ADDRESSES_AT] = bytes(ADDRESSES_AT)
        for address in self._addresses:
            table[address % PAGE // 8] |= 1 << address % 8
        for form in self._forms:
            table[FORMS_AT + form] = 1
        table[COUNT_AT:ADDRESSES_AT] = len(self._addresses).to_bytes(8, "little")
        for number, address in enumerate(sorted(self._addresses)):
            at = ADDRESSES_AT + 8 * number
            table[at : at + 8] = address.to_bytes(8, "little")
        cpu.set_control("breakpoints", self._address if self._addresses or self._forms else 0)
