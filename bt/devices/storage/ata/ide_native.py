"""The data port of an IDE channel in native code, and the status that software waits for.

All but the last access to a block: what that leads to is Python's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.native import native_code
from bt.devices.shared import Flag, Shared, Word

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.devices.native_device import NativeDevice


class AtaShared(Shared):
    """See `AtaDevice`; `_buffer_address` is where the host has its buffer."""

    status, is_interrupting = Word(), Flag()
    position, read_end, write_end = Word(), Word(), Word()
    _buffer_address = Word()


class ChannelShared(Shared):
    """Which device is selected, and where the two have their blocks (0: there is none)."""

    _selected, _block0, _block1 = Word(), Word(), Word()


def _selected(b: NativeDevice) -> Value:
    """Pointer to the block of the selected device; null if it is not there."""
    return b.load(b.block + (b.word(ChannelShared._selected) << 3) + ChannelShared._block0.offset, "ptr")


def _transfer(b: NativeDevice, end: Word) -> Value:
    """Pointer into the buffer for this access, which is not the block's last; the position moves on."""
    b.ask_if((b.size != 2) & (b.size != 4))
    device = _selected(b)
    b.ask_if(device == 0)
    position = b.word(AtaShared.position, device)
    after = position + b.size.zext(64)
    b.ask_if(after.uge(b.word(end, device)))
    b.set_word(AtaShared.position, after, device)
    return b.load(device + AtaShared._buffer_address.offset, "ptr") + position


@native_code
def read_data(b: NativeDevice) -> None:
    """`AtaDevice.read_data`."""
    data = b.load(_transfer(b, AtaShared.read_end), 32)  # at least a word follows
    b.answer(b.select(b.size == 2, data & 0xFFFF, data))


@native_code
def write_data(b: NativeDevice) -> None:
    """`AtaDevice.write_data`."""
    data = _transfer(b, AtaShared.write_end)
    with b.If(b.size == 2):
        b.store(data, b.written.trunc(16))
        b.done()
    b.store(data, b.written.trunc(32))
    b.done()


def _status(b: NativeDevice, device: Value) -> None:
    """A device that is not there reads as zeros."""
    with b.If(device == 0):
        b.answer(0)
    b.answer(b.word(AtaShared.status, device))


@native_code
def read_status(b: NativeDevice) -> None:
    """The status, if reading it takes no interrupt away."""
    b.ask_unless_size(1)
    device = _selected(b)
    with b.If(device != 0):
        b.ask_if(b.is_set(AtaShared.is_interrupting, device))
    _status(b, device)


@native_code
def read_alternate_status(b: NativeDevice) -> None:
    b.ask_unless_size(1)
    _status(b, _selected(b))
