"""Bytes that a guest sends and nobody has to answer: they wait in a queue that all its ports share, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.native import native_code
from bt.devices.shared import Bits, Shared, Word

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.devices.native_device import NativeDevice

ENTRIES = 4096
ENTRY_BYTES = 2  # the byte, and above it the number of who takes it
LINE_FEED = 0x0A


class QueueShared(Shared):
    """How many entries there are, and they themselves."""

    _count, _entries = Word(), Bits(8 * ENTRIES * ENTRY_BYTES)


class SenderShared(Shared):
    """Of a device that sends: where the queue is (0: nowhere), and the number of who takes what it sends."""

    _queue_block, _output_number = Word(), Word()


def send(b: NativeDevice, byte: Value) -> None:
    """Put a byte (i64) into the queue of a sender.

    Python is asked when there is no room, and for a line feed, so that a line is outside as soon as it is complete.
    """
    b.ask_if((byte == LINE_FEED) | ~b.is_set(SenderShared._queue_block))
    queue = b.other_block(SenderShared._queue_block)
    count = b.word(QueueShared._count, queue)
    b.ask_if(count == ENTRIES)
    entry = queue + (count * ENTRY_BYTES + QueueShared._entries.offset)
    b.store(entry, (byte | (b.word(SenderShared._output_number) << 8)).trunc(16))
    b.set_word(QueueShared._count, count + 1, queue)


@native_code
def write_console(b: NativeDevice) -> None:
    """A write to a port that prints."""
    b.ask_unless_size(1)
    send(b, b.written & 0xFF)
    b.done()
