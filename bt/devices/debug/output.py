"""Where bytes go that a guest sends: to functions outside, in the order in which they were sent.

Native code cannot call them, so it queues what devices send; whoever runs the guest delivers it whenever the guest is
left, before anything else is done. Nothing of it is in a snapshot: between two runs the queue is empty.
"""

from __future__ import annotations

from collections.abc import Callable

from bt.devices.debug.output_native import ENTRY_BYTES, QueueShared, SenderShared


class OutputQueue(QueueShared):
    """The queue of one machine."""

    def __init__(self, heard: Callable[[], None] = lambda: None) -> None:
        """`heard()` is called when there is output for those that `is_heard`, once or more."""
        self._heard = heard
        self._sinks: list[Callable[[int], None]] = []
        self._unheard: set[int] = set()  # numbers of sinks
        self.waiting = self._words  # `waiting[0]` is not 0 if there is something to deliver

    def output(self, sink: Callable[[int], None], *, is_heard: bool = True) -> Output:
        """Where devices send what `sink` is to get."""
        number = len(self._sinks)
        self._sinks.append(sink)
        if not is_heard:
            self._unheard.add(number)
        return Output(self, number)

    def hand_over(self, number: int, byte: int) -> None:
        """Past the queue, which is empty: a byte that Python sends."""
        if number not in self._unheard:
            self._heard()
        self._sinks[number](byte)

    def deliver(self) -> None:
        """Hand over what is waiting. If a sink raises, the byte it was given is gone, and the rest waits."""
        start = QueueShared._entries.offset
        queued = bytes(self._bytes[start : start + self._count * ENTRY_BYTES])
        if not self._unheard.issuperset(queued[1::2]):
            self._heard()
        sinks, left = self._sinks, iter(queued)
        try:
            for byte, number in zip(left, left, strict=True):  # 0.1 us each with a sink that does nothing
                sinks[number](byte)
        finally:
            rest = bytes(left)
            self._bytes[start : start + len(rest)] = rest
            self._count = len(rest) // ENTRY_BYTES


class Output:
    """A sink that also says how native code reaches it."""

    def __init__(self, queue: OutputQueue, number: int) -> None:
        self.queue, self.number = queue, number

    def __call__(self, byte: int) -> None:
        self.queue.hand_over(self.number, byte)


class Sender(SenderShared):
    """What sends bytes: to `sink`, and past Python if that is an `Output`."""

    def send_to(self, sink: Callable[[int], None]) -> None:
        self._sink = sink
        if isinstance(sink, Output):
            self._queue_block, self._output_number = sink.queue.block, sink.number

    def send_at_once(self, wanted: bool) -> None:
        """Have each byte leave to Python when it is sent; or, as before, wait in the queue for the next line's end."""
        if isinstance(self._sink, Output):
            self._queue_block = 0 if wanted else self._sink.queue.block
