"""An IDE channel in native code: its data port, the status that software waits for, the parameters of commands.

All but the last access to a block, and all but the command itself: what those lead to is Python's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.native import native_code
from bt.devices.shared import Bytes, Flag, Shared, Word

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.devices.native_device import NativeDevice

BUSY, DATA_REQUEST = 0x80, 0x08  # of the status
SECOND, SECOND_SHIFT = 0x10, 4  # of DEVICE: device 1 is meant
HIGH_ORDER = 0x80  # of Device Control: HOB


class AtaShared(Shared):
    """See `AtaDevice`. `task` and `previous` are the registers by offset, and what they held before their last write:
    48-bit addresses; `_buffer_address` is where the host has its buffer.
    """

    status, is_interrupting = Word(), Flag()
    task, previous = Bytes(), Bytes()
    position, read_end, write_end = Word(), Word(), Word()
    _buffer_address = Word()


class ChannelShared(Shared):
    """Which device is selected, where the two have their blocks (0: there is none), and Device Control."""

    _selected, _block0, _block1 = Word(), Word(), Word()
    _control = Word()


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


@native_code
def write_parameter(b: NativeDevice) -> None:
    """`IdeChannel.write` of what goes before a command: to both devices, unless they are busy."""
    b.ask_unless_size(1)
    selected = _selected(b)
    with b.If(selected != 0):
        b.ask_if((b.word(AtaShared.status, selected) & (BUSY | DATA_REQUEST)) != 0)
    b.set_word(ChannelShared._control, b.word(ChannelShared._control) & ~HIGH_ORDER)
    for place in (ChannelShared._block0, ChannelShared._block1):
        device = b.other_block(place)
        with b.If(device != 0), b.If((b.word(AtaShared.status, device) & (BUSY | DATA_REQUEST)) == 0):
            register = b.offset.zext(64)
            now = device + AtaShared.task.offset + register
            b.store(device + AtaShared.previous.offset + register, b.load(now, 8))
            b.store(now, b.written.trunc(8))
    b.done()


@native_code
def write_device(b: NativeDevice) -> None:
    """The same for DEVICE, if it does not select the other one."""
    b.ask_if(((b.written & SECOND) >> SECOND_SHIFT) != b.word(ChannelShared._selected))
    write_parameter.body(b)
