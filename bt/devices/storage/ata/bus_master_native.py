"""The bus master of an IDE channel in native code: what software reads and writes around each transfer.

What starts a transfer is Python's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.native import native_code
from bt.devices.shared import Shared, Word

if TYPE_CHECKING:
    from bt.devices.native_device import NativeDevice

START, TO_MEMORY = 0x01, 0x08  # command
ACTIVE, ERROR, INTERRUPT = 0x01, 0x02, 0x04  # status; the latter two are cleared by writing ones
DRIVE_FLAGS = 0x60  # "drive 0/1 DMA capable": software's notes to itself


class MasterShared(Shared):
    """See `BusMasterIde`."""

    _command, _status, _table, _left = Word(), Word(), Word(), Word()


M = MasterShared


@native_code
def read_command(b: NativeDevice) -> None:
    b.ask_unless_size(1)
    b.answer(b.word(M._command))


@native_code
def read_status(b: NativeDevice) -> None:
    b.ask_unless_size(1)
    b.answer(b.word(M._status))


@native_code
def write_command(b: NativeDevice) -> None:
    """`BusMasterIde.write` of a command that starts nothing."""
    b.ask_if((b.size != 1) | ((b.written & START & ~b.word(M._command)) != 0))
    b.set_word(M._command, b.written & (START | TO_MEMORY))
    with b.If((b.written & START) == 0):
        b.set_word(M._status, b.word(M._status) & ~ACTIVE)
        b.set_word(M._left, 0)
    b.done()


@native_code
def write_status(b: NativeDevice) -> None:
    b.ask_unless_size(1)
    kept = b.word(M._status) & (~b.written & (ERROR | INTERRUPT) | ACTIVE)
    b.set_word(M._status, kept | (b.written & DRIVE_FLAGS))
    b.done()


@native_code
def write_table(b: NativeDevice) -> None:
    b.ask_unless_size(4)
    b.set_word(M._table, b.written & 0xFFFF_FFFC)
    b.done()
