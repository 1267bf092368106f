"""A block device by virtio (OASIS Virtual I/O Device 1.1, 5.2), whatever it is plugged into."""

import struct
from collections.abc import Callable
from typing import Any

from bt.clock.virtual_clock import VirtualClock
from bt.devices.dma_memory import DmaMemory, GuestMemory
from bt.devices.storage.ata.ata_identify import HEADS, SECTORS_PER_TRACK, default_cylinders
from bt.devices.storage.disk_port import DiskPort, Post
from bt.devices.storage.virtio.virtio_queue import BrokenQueue, Chain, VirtQueue, cut, gather, scatter, total
from bt.disks.disk import Disk
from bt.disks.image import SECTOR_BYTES

DEVICE_ID = 2
QUEUE_SIZE = 256
SEGMENTS = QUEUE_SIZE - 2  # of data, beside header and status

# feature bits
SEG_MAX, GEOMETRY, READ_ONLY, BLOCK_SIZE, FLUSH, TOPOLOGY, CONFIG_WRITE_CACHE = (
    1 << n for n in (2, 4, 5, 6, 9, 10, 11)
)
INDIRECT, EVENT_INDEX, VERSION_1 = 1 << 28, 1 << 29, 1 << 32

IN, OUT, FLUSH_REQUEST, GET_ID = 0, 1, 4, 8  # types of request
HEADER = struct.Struct("<IIQ")  # type, reserved, sector
ID_BYTES = 20
OK, IO_ERROR, UNSUPPORTED = range(3)

WRITE_CACHE_AT = 32  # offset of `writeback` in the configuration
# What a request costs here beside its data, 0.2 ms, is the host's time for 1 MiB of them. Linux reads ahead twice this:
# 512 KiB instead of 128, so that reading in order takes a quarter of the requests.
OPTIMAL_BYTES = 256 << 10
MOST_REQUEST_BYTES = 32 << 20  # a larger one is an error
MOST_BYTES_UNDER_WAY = 64 << 20  # beyond that requests wait in their ring


class _Request:
    """One that the disk is busy with."""

    def __init__(
        self, device: "VirtioBlk", chain: Chain, kind: int, n: int, clock: VirtualClock, post: Post | None
    ) -> None:
        self.chain = chain
        self.kind = kind
        self.bytes = n
        self.is_flushing = False  # a write that is to be on the medium when it is done
        self.port = DiskPort(clock, device.disk, lambda error: device.on_disk(self, error), post)


class VirtioBlk:
    """Features, configuration, one queue of requests. The transport calls `notify`, and hears `interrupt`.

    Left out: discarding, writing zeros, several queues.
    """

    device_id = DEVICE_ID

    def __init__(
        self,
        clock: VirtualClock,
        memory: GuestMemory,
        disk: Disk,
        serial: str = "",
        post: Post | None = None,
    ) -> None:
        self.disk = disk
        self.queues = [VirtQueue(DmaMemory(memory, 64), QUEUE_SIZE)]
        self.interrupt: Callable[[], None] = lambda: None  # the transport's, and so is the next
        self.broke: Callable[[], None] = lambda: None  # the device needs a reset
        self.features = (
            SEG_MAX | GEOMETRY | BLOCK_SIZE | FLUSH | TOPOLOGY | CONFIG_WRITE_CACHE | INDIRECT | EVENT_INDEX | VERSION_1
        )
        if disk.read_only:
            self.features |= READ_ONLY
        self._memory = DmaMemory(memory, 64)
        self._serial = serial.encode("ascii", "replace")[:ID_BYTES].ljust(ID_BYTES, b"\0")
        self._clock, self._post = clock, post
        self._accepted = 0
        self._write_cache = True
        self._is_broken = False
        self._under_way: list[_Request] = []
        self._bytes_under_way = 0

    @property
    def config(self) -> bytes:
        """The configuration as far as the features offered have it."""
        cylinders = default_cylinders(self.disk.sectors)
        return struct.pack(
            "<QIIHBBIBBHIBBH", self.disk.sectors, 0, SEGMENTS, cylinders, HEADS, SECTORS_PER_TRACK, SECTOR_BYTES,
            0, 0, 0, OPTIMAL_BYTES // SECTOR_BYTES, self._write_cache, 0, 1,
        )  # fmt: skip

    def write_config(self, offset: int, value: int) -> None:
        """A byte of it; only the write cache's can be written."""
        if offset == WRITE_CACHE_AT and self._accepted & CONFIG_WRITE_CACHE:
            self._write_cache = bool(value & 1)

    def accept(self, features: int) -> None:
        """What the driver has agreed to."""
        self._accepted = features
        self.queues[0].has_event_index = bool(features & EVENT_INDEX)

    def reset(self) -> None:
        """Forget all requests. A write that the host has is done all the same."""
        self._forget()
        self._accepted = 0
        self._write_cache = True
        self._is_broken = False
        self.queues[0].reset()

    def notify(self) -> None:
        """There may be new requests."""
        queue = self.queues[0]
        try:
            # not one that the device itself writes into the ring meanwhile: it might never be empty
            for _ in range(queue.waiting):
                if self._is_broken or self._is_full:
                    return
                self._start(queue.pop())
        except BrokenQueue:
            self._is_broken = True
            self.broke()

    @property
    def _is_full(self) -> bool:
        """What is in the ring waits there: a driver may make the same requests available again and again."""
        return self._bytes_under_way >= MOST_BYTES_UNDER_WAY or len(self._under_way) >= self.queues[0].most

    def _start(self, chain: Chain) -> None:
        header = gather(self._memory, cut(chain.readable, 0, HEADER.size))
        room = total(chain.writable)
        if len(header) < HEADER.size or room < 1:
            raise BrokenQueue("a request without header or status")
        kind, _, sector = HEADER.unpack(header)
        if kind == GET_ID:
            scatter(self._memory, cut(chain.writable, 0, min(room - 1, ID_BYTES)), self._serial)
            self._finish(chain, min(room - 1, ID_BYTES), OK)
            return
        if kind == FLUSH_REQUEST:
            self._begin(chain, kind, 0).port.flush()
            return
        if kind not in (IN, OUT):
            self._finish(chain, 0, UNSUPPORTED)
            return
        n = room - 1 if kind == IN else total(chain.readable) - HEADER.size
        sectors = n // SECTOR_BYTES
        is_refused = (
            n % SECTOR_BYTES
            or n > MOST_REQUEST_BYTES
            or sector + sectors > self.disk.sectors
            or (kind == OUT and self.disk.read_only)
        )
        if is_refused:
            self._finish(chain, 0, IO_ERROR)
        elif not sectors:
            self._finish(chain, 0, OK)
        elif kind == IN:
            self._begin(chain, kind, n).port.read(sector, sectors)
        else:
            data = gather(self._memory, cut(chain.readable, HEADER.size, n))
            self._begin(chain, kind, n).port.write(sector, data)

    def _begin(self, chain: Chain, kind: int, n: int) -> _Request:
        request = _Request(self, chain, kind, n, self._clock, self._post)
        self._under_way.append(request)
        self._bytes_under_way += n
        return request

    def _forget(self) -> None:
        for request in self._under_way:
            request.port.forget()
        self._under_way.clear()
        self._bytes_under_way = 0

    @property
    def _writes_through(self) -> bool:
        """Without a flush command, or with the cache off, a write is on the medium when it is done (5.2.6.2)."""
        if self._accepted & CONFIG_WRITE_CACHE:
            return not self._write_cache
        return not self._accepted & FLUSH

    def on_disk(self, request: _Request, error: OSError | None) -> None:
        if error is None and request.kind == OUT and not request.is_flushing and self._writes_through:
            request.is_flushing = True
            request.port.flush()
            return
        was_full = self._is_full
        self._under_way.remove(request)
        self._bytes_under_way -= request.bytes
        written = 0
        if error is None and request.kind == IN:
            written = request.bytes
            scatter(self._memory, cut(request.chain.writable, 0, written), request.port.data)
        self._finish(request.chain, written, OK if error is None else IO_ERROR)
        if was_full:  # some may have waited
            self.notify()

    def _finish(self, chain: Chain, written: int, status: int) -> None:
        """The status is the last byte that can be written."""
        scatter(self._memory, cut(chain.writable, total(chain.writable) - 1, 1), bytes([status]))
        if self.queues[0].push(chain.head, written + 1):
            self.interrupt()

    def state(self) -> dict[str, Any]:
        return {
            "accepted": self._accepted,
            "write_cache": self._write_cache,
            "broken": self._is_broken,
            "queues": [queue.state() for queue in self.queues],
            "under_way": [
                {
                    "head": request.chain.head,
                    "readable": request.chain.readable,
                    "writable": request.chain.writable,
                    "kind": request.kind,
                    "bytes": request.bytes,
                    "flushing": request.is_flushing,
                    "port": request.port.state(),
                }
                for request in self._under_way
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._forget()
        self._accepted, self._write_cache, self._is_broken = state["accepted"], state["write_cache"], state["broken"]
        for queue, fields in zip(self.queues, state["queues"], strict=True):
            queue.restore(fields)
        for saved in state["under_way"]:
            segments = [[(address, n) for address, n in saved[name]] for name in ("readable", "writable")]
            request = self._begin(Chain(saved["head"], *segments), saved["kind"], saved["bytes"])
            request.is_flushing = saved["flushing"]
            request.port.restore(saved["port"])
