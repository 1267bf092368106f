"""The soft TLB as an operand form: what host code of our own encoding has to know of it."""

from __future__ import annotations

from typing import NamedTuple

from bt.codegen.layout import Layout
from bt.memory.soft_mmu.layout import (
    ADDEND,
    ENTRY_MASK,
    ENTRY_SHIFT,
    PHYSICAL,
    READ_TAG,
    SUPERVISOR_64,
    USER_64,
    WRITE_TAG,
)
from bt.x86 import state


class Entry(NamedTuple):
    """Of the table of 32-bit code that the state points to: how the entry for a linear address is found, as HostForm
    has it, and displacements in it."""

    table: str  # slot of the state
    shift: int
    mask: int
    tag: int  # for reading
    addend: int
    physical: int  # the page, and WALKED_* bits


ENTRY = Entry("tlb", ENTRY_SHIFT, ENTRY_MASK, READ_TAG, ADDEND, PHYSICAL)


# What an access remembers (reaches.py).
REACH_BYTES = 64
REACH = Layout(
    (
        ("low", 64),  # linear address of the first page
        ("limit", 64),  # so far behind that no access may begin; 0: the reach is empty
        ("addend", 64),  # from a linear address to that in the host
        ("size", 64),  # of the access, bytes
        ("patience", 64),  # misses until it is looked whether they come too often
        ("mark", 64),  # instructions that units had done when that was looked at last
        ("site", 64),  # host address, for writing, of the code that asks
        ("detour", 64),  # its first eight bytes once it asks the TLB itself
    ),
    REACH_BYTES,
)
REACHES = 1 << 14  # on the list, behind their number


class HostForm(NamedTuple):
    """Of 64-bit code with certain rights. The entry for a linear address is `linear >> shift & mask` bytes behind the
    displacements from the state pointer that follow; its tag is the address of the page's last byte."""

    shift: int
    mask: int
    tags: tuple[int, int]  # for reading, for writing
    addend: int  # from the linear address to that in the host


def host_form(*, user: bool) -> HostForm:
    table = state.offset(USER_64 if user else SUPERVISOR_64)
    return HostForm(ENTRY_SHIFT, ENTRY_MASK, (table + READ_TAG, table + WRITE_TAG), table + ADDEND)
