"""A disk as its device sees it: requests that are handed in, and done by a thread while the guest runs."""

import errno
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from bt.disks.image import SECTOR_BYTES, Image
from bt.errors import BadUsage, Closed

READ, WRITE, FLUSH = "read", "write", "flush"
MOST_SECTORS_AT_ONCE = 256  # read by the thread that asks
IDLE_SECONDS = 10.0  # after which the thread goes, to come back with the next request


class Request:
    """One read, write or flush. `result()` is for the VMM's thread, everything else for whoever does it."""

    __slots__ = ("_disk", "_failure", "_is_done", "_on_done", "data", "error", "kind", "lba", "sectors")

    def __init__(
        self, disk: "Disk", kind: str, lba: int, sectors: int, data: bytes, on_done: Callable[[], None] | None
    ) -> None:
        self._disk = disk
        self.kind: Final = kind
        self.lba: Final = lba
        self.sectors: Final = sectors
        self.data: bytes | bytearray = data  # what was read, once `result()` is None; or what is to be written
        self.error: OSError | None = None
        self._on_done = on_done
        self._is_done = False
        self._failure: BaseException | None = None

    def result(self) -> OSError | None:
        """Wait until the host has done it; None if all went well. The disk's user hears of an error, once."""
        self._disk.work_off(self)
        if self._failure is not None:
            raise self._failure
        if self.error is not None:
            self._disk.report(self)
        return self.error

    @property
    def calls_back(self) -> bool:
        return self._on_done is not None

    @property
    def is_done(self) -> bool:
        return self._is_done

    def perform(self, image: Image) -> None:
        try:
            if self.kind == READ:
                self.data = image.read(self.lba * SECTOR_BYTES, self.sectors * SECTOR_BYTES)
            elif self.kind == WRITE:
                image.write(self.lba * SECTOR_BYTES, bytes(self.data))  # which they are: no copy
            else:
                image.flush()
        except OSError as error:
            self.error = error
        except BaseException as failure:  # no host's error: for whoever waits, whichever thread this is
            self._failure = failure
        self._finish()

    def perform_cached(self, image: Image) -> bool:
        """Read if that takes no waiting; whether it did."""
        data = image.read_cached(self.lba * SECTOR_BYTES, self.sectors * SECTOR_BYTES)
        if data is None:
            return False
        self.data = data
        self._finish()
        return True

    def refuse(self, error: OSError) -> None:
        """Done, with `error`, without having asked the host."""
        self.error = error
        self._finish()

    def _finish(self) -> None:
        self._is_done = True
        if self._on_done is not None:
            self._on_done()
            self._disk.answered()


class _Queue:
    """Requests in the order in which they came; each thread that needs one done does those before it as well.

    So a thread that is slow, or not there, is no reason to wait, and a read sees what was written before.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.waiting: deque[Request] = deque()
        self._doing = threading.Lock()
        self._bell: SimpleQueue[None] = SimpleQueue()  # rung for each request; a semaphore takes 3 us more
        self._starting = threading.Lock()
        self._has_thread = False
        self.is_closed = False

    def put(self, request: Request) -> None:
        if request.kind == READ and request.sectors <= MOST_SECTORS_AT_ONCE and self._read_at_once(request):
            return
        self.waiting.append(request)
        self._bell.put(None)
        with self._starting:
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._serve, name="bt disk", daemon=True).start()

    def _read_at_once(self, request: Request) -> bool:
        """What the host has in its memory needs no thread: 85 us instead of 130 us for 4 KiB by DMA."""
        if not self._doing.acquire(blocking=False):
            return False
        try:
            return not self.waiting and request.perform_cached(self.image)
        finally:
            self._doing.release()

    def do_one(self) -> bool:
        """Do the oldest request; False if there is none. Returns after whatever another thread was doing."""
        with self._doing:
            if not self.waiting:
                return False
            self.waiting.popleft().perform(self.image)
            return True

    def _serve(self) -> None:
        while True:
            try:
                self._bell.get(timeout=IDLE_SECONDS)
                if not self.is_closed:
                    self.do_one()
                    continue
            except Empty:
                pass
            with self._starting:
                if self.is_closed or not self.waiting:
                    self._has_thread = False
                    return

    def close(self) -> None:
        """Do what was asked for, then close the image."""
        if not self.is_closed:
            while self.do_one():
                pass
            self.is_closed = True
            self._bell.put(None)
            self.image.close()


class Disk:
    """`sectors` sectors of 512 bytes. Only this opens a host file for a device.

    A write is done when the host's kernel has it; a flush when the host's medium has it (one fdatasync).
    """

    def __init__(self, image: Image, on_error: Callable[[str], None] | None = None) -> None:
        """`on_error` gets one line for the user at the first error of each kind, in the thread that runs the guest."""
        self.name = image.name
        self.sectors = image.size // SECTOR_BYTES
        self.read_only = image.read_only
        self._on_error = on_error
        self._reported: set[tuple[str, int | None]] = set()
        self.outstanding = 0  # requests whose `on_done` has not returned yet
        self._counting = threading.Lock()
        self._queue = _Queue(image)
        # a disk that is dropped, and the end of Python, leave nothing undone
        self._close = weakref.finalize(self, self._queue.close)

    def read(self, lba: int, sectors: int, on_done: Callable[[], None] | None = None) -> Request:
        """Ask for `sectors` sectors from sector `lba` on. `on_done()` is called by any thread, when it is done.

        Raises ValueError unless they are all on the disk: that is the device's to check.
        """
        self._check(lba, sectors)
        return self._submit(Request(self, READ, lba, sectors, b"", on_done))

    def write(self, lba: int, data: bytes, on_done: Callable[[], None] | None = None) -> Request:
        """Have `data`, whole sectors, written from sector `lba` on. A disk that is read-only answers with EROFS."""
        sectors = len(data) // SECTOR_BYTES
        if len(data) % SECTOR_BYTES:
            raise ValueError(f"{self.name}: {len(data)} bytes are no whole number of sectors")
        self._check(lba, sectors)
        return self._submit(Request(self, WRITE, lba, sectors, data, on_done))

    def flush(self, on_done: Callable[[], None] | None = None) -> Request:
        """Have everything that was written before brought to the medium."""
        return self._submit(Request(self, FLUSH, 0, 0, b"", on_done))

    def close(self) -> None:
        """Finish what was asked for and give the file back; doing it twice is harmless."""
        self._close()

    def answered(self) -> None:
        """A request's `on_done` has returned."""
        with self._counting:
            self.outstanding -= 1

    def work_off(self, request: Request) -> None:
        while not request.is_done:
            self._queue.do_one()

    def report(self, request: Request) -> None:
        error = request.error
        assert error is not None
        key = (request.kind, error.errno)
        if self._on_error is not None and key not in self._reported:
            self._reported.add(key)
            where = "" if request.kind == FLUSH else f" at sector {request.lba}"
            self._on_error(
                f"{self.name}: {request.kind}{where} failed ({error.strerror or error}); "
                "the guest was told, and is told again each time"
            )

    def _check(self, lba: int, sectors: int) -> None:
        if lba < 0 or sectors <= 0 or lba + sectors > self.sectors:
            raise ValueError(f"{self.name}: sectors {lba} to {lba + sectors - 1} are not on this disk")

    def _submit(self, request: Request) -> Request:
        if self._queue.is_closed:
            raise Closed(f"{self.name}: closed")
        if request.calls_back:
            with self._counting:
                self.outstanding += 1
        if request.kind == WRITE and self.read_only:
            request.refuse(OSError(errno.EROFS, os.strerror(errno.EROFS)))
        else:
            self._queue.put(request)
        return request


def open_disk(
    path: str, *, read_only: bool = False, snapshot: bool = False, on_error: Callable[[str], None] | None = None
) -> Disk:
    """The raw image at `path` as a disk; with `snapshot` what is written lasts as long as the disk, elsewhere.

    Raises BadUsage with a line that says what to do.
    """
    from bt.disks.raw import RawImage  # a machine without disks imports neither

    image: Image = RawImage(path, read_only=read_only or snapshot)
    if snapshot and not read_only:
        from bt.disks.overlay import Overlay

        try:
            image = Overlay(image)
        except OSError as error:
            image.close()
            raise BadUsage(
                f"{path}: no temporary file for -snapshot ({error.strerror}); set TMPDIR to a directory with room"
            ) from error
    return Disk(image, on_error)
