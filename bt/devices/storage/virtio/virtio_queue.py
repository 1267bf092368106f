"""Split virtqueues: rings in guest memory (OASIS Virtual I/O Device 1.1, 2.6)."""

from dataclasses import dataclass
from struct import Struct
from typing import Any

from bt.devices.dma_memory import DmaMemory

DESCRIPTOR = Struct("<QIHH")  # address, length, flags, next
USED_ELEMENT = Struct("<II")  # head, bytes written
HAS_NEXT, IS_WRITABLE, IS_INDIRECT = 1, 2, 4  # of a descriptor
NO_INTERRUPT = 1  # available ring's flags

LEGACY_ALIGN = 4096
MOST_DESCRIPTORS = 1024  # of an indirect table, what is beyond is not looked at; the ring itself has the queue's size

Segment = tuple[int, int]  # address, bytes


class BrokenQueue(Exception):
    """The driver has put something into a ring that cannot be: the device needs a reset."""


@dataclass(slots=True)
class Chain:
    """One request: what the device reads, then what it writes."""

    head: int
    readable: list[Segment]
    writable: list[Segment]


class VirtQueue:
    """One queue as the device sees it. Addresses are guest-physical, whatever the guest has put there."""

    fields = (
        "size", "is_ready", "descriptors", "driver_area", "device_area", "has_event_index",
        "next_available", "next_used", "signalled",
    )  # fmt: skip

    def __init__(self, memory: DmaMemory, most: int) -> None:
        """`most` descriptors, a power of two."""
        self._memory = memory
        self.most = most
        self.reset()

    def reset(self) -> None:
        self.size = self.most
        self.is_ready = False
        self.descriptors = self.driver_area = self.device_area = 0
        self.has_event_index = False
        self.next_available = self.next_used = 0  # counted modulo 65536, as the rings do
        self.signalled = 0  # `next_used` when an interrupt was last thought of

    def place_legacy(self, address: int) -> None:
        """The layout of 2.6.2: one piece of memory, the used ring on a page of its own."""
        self.descriptors = address
        self.driver_area = address + DESCRIPTOR.size * self.size
        end = self.driver_area + 6 + 2 * self.size
        self.device_area = -(-end // LEGACY_ALIGN) * LEGACY_ALIGN
        self.is_ready = address != 0

    @property
    def waiting(self) -> int:
        """How many requests can be popped. Raises BrokenQueue."""
        if not self.is_ready:
            return 0
        waiting = self._u16(self.driver_area + 2) - self.next_available & 0xFFFF
        if waiting > self.size:
            raise BrokenQueue(f"{waiting} requests in a ring of {self.size}")
        return waiting

    def pop(self) -> Chain:
        """The next of the requests that are `waiting`. Raises BrokenQueue."""
        head = self._u16(self.driver_area + 4 + 2 * (self.next_available % self.size))
        chain = self._chain(head)
        self.next_available = self.next_available + 1 & 0xFFFF
        if self.has_event_index:  # be told of the next one
            self._memory.write(
                self.device_area + 4 + USED_ELEMENT.size * self.size, self.next_available.to_bytes(2, "little")
            )
        return chain

    def push(self, head: int, written: int) -> bool:
        """Give a request back, `written` bytes of which were written; whether the driver wants an interrupt."""
        place = self.device_area + 4 + USED_ELEMENT.size * (self.next_used % self.size)
        self._memory.write(place, USED_ELEMENT.pack(head, written))
        self.next_used = self.next_used + 1 & 0xFFFF
        self._memory.write(self.device_area + 2, self.next_used.to_bytes(2, "little"))
        if not self.has_event_index:
            return not self._u16(self.driver_area) & NO_INTERRUPT
        event = self._u16(self.driver_area + 4 + 2 * self.size)
        # 2.6.7.1: has the index gone past the one that the driver waits for?
        is_due = self.next_used - event - 1 & 0xFFFF < self.next_used - self.signalled & 0xFFFF
        self.signalled = self.next_used
        return is_due

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fields}

    def restore(self, state: dict[str, Any]) -> None:
        for name in self.fields:
            setattr(self, name, state[name])

    def _u16(self, address: int) -> int:
        return int.from_bytes(self._memory.read(address, 2), "little")

    def _chain(self, head: int) -> Chain:
        chain = Chain(head, [], [])
        size, index = self.size, head
        # a table is read at once: 3 us, as each of its descriptors would be
        table = self._memory.read(self.descriptors, DESCRIPTOR.size * size)
        seen = 0
        is_nested = False
        while True:
            if index >= size:
                raise BrokenQueue(f"descriptor {index} of {size}")
            seen += 1
            if seen > size:
                raise BrokenQueue("a chain without end")
            address, length, flags, following = DESCRIPTOR.unpack_from(table, DESCRIPTOR.size * index)
            if flags & IS_INDIRECT:
                if is_nested or flags & HAS_NEXT or length % DESCRIPTOR.size or not length:
                    raise BrokenQueue("an indirect table that may not be there")
                is_nested = True
                size, index, seen = min(length // DESCRIPTOR.size, MOST_DESCRIPTORS), 0, 0
                table = self._memory.read(address, DESCRIPTOR.size * size)
                continue
            if flags & IS_WRITABLE:
                chain.writable.append((address, length))
            elif chain.writable:
                raise BrokenQueue("something to read after something to write")
            else:
                chain.readable.append((address, length))
            if not flags & HAS_NEXT:
                return chain
            index = following


def total(segments: list[Segment]) -> int:
    return sum(n for _, n in segments)


def cut(segments: list[Segment], start: int, n: int) -> list[Segment]:
    """The `n` bytes from `start` on, as segments; fewer if there are not so many."""
    found: list[Segment] = []
    for address, length in segments:
        if n <= 0:
            break
        if start >= length:
            start -= length
            continue
        piece = min(length - start, n)
        found.append((address + start, piece))
        n -= piece
        start = 0
    return found


def gather(memory: DmaMemory, segments: list[Segment]) -> bytes:
    return b"".join(memory.read(address, n) for address, n in segments)


def scatter(memory: DmaMemory, segments: list[Segment], data: bytes | bytearray) -> None:
    """Store as much of `data` as there is room for."""
    view = memoryview(data)  # whose slices are no copies
    at = 0
    for address, n in segments:
        piece = view[at : at + n]
        if not piece:
            return
        memory.write(address, piece)
        at += n
