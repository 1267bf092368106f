"""A device's way to its disk: one request at a time, whose completion comes when the guest's clock says so."""

import os
from collections.abc import Callable
from typing import Any

from bt.clock.virtual_clock import Event, VirtualClock
from bt.disks.disk import FLUSH, READ, WRITE, Disk, Request
from bt.disks.latency import FLUSH_NS, transfer_ns

WAIT = "wait"  # a request of time alone

Post = Callable[[Callable[[], None]], None]


class DiskPort:
    """Asks `disk`, and calls `deliver(error)` once the request is complete; the data of a read is in `data` then.

    When that is, is bt/disks/latency.py's to say; a host that takes longer is waited for. With `post`, which has the
    VMM do something between two instructions and is safe from other threads, it is when the host is done.
    """

    def __init__(
        self,
        clock: VirtualClock,
        disk: Disk | None,
        deliver: Callable[[OSError | None], None],
        post: Post | None = None,
    ) -> None:
        self.disk = disk
        self.data: bytes | bytearray = b""
        self._clock = clock
        self._deliver = deliver
        self._post = post
        self._kind: str | None = None  # of what is under way
        self._request: Request | None = None
        self._error: OSError | None = None  # of a write that was complete before `restore`
        self._event: Event | None = None
        self._ticket: object = None  # of the request that `post` may still complete

    def read(self, lba: int, sectors: int) -> None:
        """`sectors` of 512 bytes from sector `lba` on, which are on the disk."""
        self._start(READ, transfer_ns(sectors), lambda disk, done: disk.read(lba, sectors, done))

    def write(self, lba: int, data: bytes) -> None:
        """`data`, whole sectors, to sector `lba` and on, which are on the disk."""
        self._start(WRITE, transfer_ns(len(data) // 512), lambda disk, done: disk.write(lba, data, done))

    def flush(self) -> None:
        self._start(FLUSH, FLUSH_NS, lambda disk, done: disk.flush(done))

    def wait(self, ns: int) -> None:
        """Let `ns` nanoseconds pass, and deliver None."""
        self._kind = WAIT
        self._event = self._clock.schedule(self._clock.now_ns + ns, self._complete)

    @property
    def is_busy(self) -> bool:
        return self._kind is not None

    def forget(self) -> None:
        """Deliver nothing for what is under way. A write is done all the same."""
        self._clock.cancel(self._event)
        self._kind = self._request = self._event = self._error = self._ticket = None

    def state(self) -> dict[str, Any] | None:
        """A write or flush is done on the host when this returns; a read is done again after `restore`."""
        if self._kind is None:
            return None
        request = self._request
        error = self._error
        if request is not None and self._kind != READ:
            error, request = request.result(), None  # done: nothing to do again
        return {
            "kind": self._kind,
            "lba": request.lba if request else 0,
            "sectors": request.sectors if request else 0,
            "errno": (error.errno or 5) if error else 0,
            "event": self._event.state() if self._event else None,
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        self.forget()
        if state is None:
            return
        self._kind = state["kind"]
        number = state["errno"]
        self._error = OSError(number, os.strerror(number)) if number else None
        if self._kind == READ:
            assert self.disk is not None
            self._request = self.disk.read(state["lba"], state["sectors"])
        at = state["event"]
        # one that a host's clock was to bring comes at once
        self._event = (
            self._clock.restore_event(at, self._complete)
            if at is not None
            else self._clock.schedule(self._clock.now_ns, self._complete)
        )

    def _start(self, kind: str, ns: int, ask: Callable[[Disk, Callable[[], None] | None], Request]) -> None:
        assert self.disk is not None
        self._kind = kind
        post = self._post
        if post is None:
            self._request = ask(self.disk, None)
            self._event = self._clock.schedule(self._clock.now_ns + ns, self._complete)
            return
        ticket = self._ticket = object()
        self._request = ask(self.disk, lambda: post(lambda: self._complete() if self._ticket is ticket else None))

    def _complete(self) -> None:
        request, error = self._request, self._error
        if request is not None:
            error = request.result()
            if request.kind == READ:
                self.data = request.data
        self._kind = self._request = self._event = self._error = self._ticket = None
        self._deliver(error)
