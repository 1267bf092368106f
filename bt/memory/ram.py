"""Guest RAM: one memfd, mapped shared, so that a later back-end can map the same pages a second time."""

import ctypes
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from reprlib import repr as shortened
from types import MethodType, TracebackType
from typing import Any

from bt import arguments
from bt.errors import BadUsage, BtError, Closed
from bt.host.sole_use import SoleUse
from bt.memory.dirty_log import DirtyLog, Marks
from bt.x86.page import PAGE

Watcher = Callable[[int, int], object]
"""Takes a guest-physical address and a number of bytes."""
_WeakWatcher = tuple[weakref.ref[Any], Callable[[Any, int, int], object]]


class OutsideRam(BtError):
    """An access to guest-physical memory that is not backed by RAM."""


class GuestRam:
    """`size` bytes of guest-physical RAM starting at guest-physical address zero.

    The host hands out zeroed pages on first touch: an untouched gigabyte costs nothing.
    `address` is the host virtual address of guest-physical zero, `fd` the memfd (close-on-exec). Whoever writes through
    one of these has to say so with `changed`; `write` does by itself, and `view` cannot be written. `sole_use` keeps
    threads apart. After `close` all methods raise Closed.
    """

    def __init__(self, size: int) -> None:
        """Raises BadUsage unless `size` (bytes) is a positive multiple of the 4 KiB page, and the host has as much."""
        arguments.whole_number("size", size, "a whole number of bytes is wanted, such as 64 << 20")
        if size <= 0 or size % PAGE:
            raise BadUsage(f"guest RAM of {size} bytes: give a positive multiple of {PAGE} bytes")
        self.size = size
        self.sole_use = SoleUse()
        self._watchers: list[_WeakWatcher] = []
        self._log: DirtyLog | None = None
        self._collectors: list[weakref.WeakMethod[Callable[[], object]]] = []
        with ExitStack() as undo:
            try:
                self.fd = os.memfd_create("bt-guest-ram", os.MFD_CLOEXEC)
                self._close_descriptor = undo.callback(weakref.finalize(self, os.close, self.fd))
                os.ftruncate(self.fd, size)
                access = mmap.PROT_READ | mmap.PROT_WRITE
                self._map: mmap.mmap | None = mmap.mmap(self.fd, size, mmap.MAP_SHARED, access)
            except (OSError, OverflowError) as error:
                raise BadUsage(
                    f"guest RAM of {size} bytes: the host refuses ({error}); give the guest less memory"
                ) from error
            undo.pop_all()
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._buffer = memoryview(self._map)
        self._view = self._buffer.toreadonly()

    @property
    def view(self) -> memoryview:
        """All of it, to be read; dies with `close()`. Pieces that were cut out of it stay readable."""
        self._open()
        return self._view

    @property
    def buffer(self) -> memoryview:
        """All of it, for a device whose memory it is, which says with `changed` what it has written; as `view`."""
        self._open()
        return self._buffer

    def read(self, paddr: int, n: int) -> bytes:
        """The `n` bytes at guest-physical `paddr`; raises OutsideRam unless all of them are RAM."""
        self._check(paddr, n)
        return bytes(self._view[paddr : paddr + n])

    def write(self, paddr: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at guest-physical `paddr`: a running guest executes what is there from its next instruction on.

        Raises OutsideRam, with nothing written, unless all of it fits; BadUsage while another thread runs the guest.
        """
        piece = data if type(data) is bytes else _bytes_of(data)
        n = len(piece)
        with self.sole_use:
            self._check(paddr, n)[paddr : paddr + n] = piece
            self._tell(paddr, n)

    def changed(self, paddr: int, n: int) -> None:
        """Say that `n` bytes at guest-physical `paddr` were written through `address` or `fd`.

        What was decoded from them is forgotten. Raises OutsideRam, and BadUsage while another thread runs the guest.
        """
        with self.sole_use:
            self._check(paddr, n)
            self._tell(paddr, n)

    def clear(self) -> None:
        """Make all of it zero, and give its pages back to the host."""
        with self.sole_use:
            self._open().madvise(mmap.MADV_REMOVE)
            self._tell(0, self.size)

    def extents(self) -> Iterator[tuple[int, int]]:
        """The parts that were ever touched, in whole pages: all else is zero."""
        self._open()
        at = 0
        while at < self.size:
            try:
                start = os.lseek(self.fd, at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole follows
                return
            at = os.lseek(self.fd, start, os.SEEK_HOLE)
            yield start, at

    def keep_log(self) -> DirtyLog:
        """The log of the pages written to, by whomever, kept from the first call on. Asked for anew each time."""
        self._open()
        if self._log is None:
            self._log = DirtyLog(self.size // PAGE)
        for reference in self._collectors:
            if (collect := reference()) is not None:
                collect()
        return self._log

    @property
    def is_logged(self) -> bool:
        """Whether anybody has asked for the log yet."""
        return self._log is not None

    def log_from(self, collect: Callable[[], object]) -> None:
        """Call a method, which notes what it knows of with `note_dirty`, when somebody asks for the log."""
        self._collectors = [each for each in self._collectors if each() is not None]
        self._collectors.append(weakref.WeakMethod(collect))

    def note_dirty(self, first: int, marks: Marks) -> None:
        """The marked pages from number `first` on were written to by the guest."""
        if self._log is not None:
            self._log.merge(first, marks)

    def _tell(self, paddr: int, n: int) -> None:
        if self._log is not None and n:
            self._log.mark(paddr // PAGE, (paddr + n - 1) // PAGE + 1)
        for reference, method in self._watchers:
            if (owner := reference()) is not None:
                method(owner, paddr, n)

    def watch(self, watcher: Watcher) -> None:
        """Call a method at every write that is not the guest's own, until `forget` or the method's object goes.

        As long as there is one, RAM cannot be closed.
        """
        self._open()
        self._watchers.append(_weak(watcher))

    def forget(self, watcher: Watcher) -> None:
        """Call it no more."""
        self._watchers.remove(_weak(watcher))

    @property
    def closed(self) -> bool:
        return self._map is None

    def close(self) -> None:
        """Unmap and close; doing it twice is harmless. Raises BadUsage while a processor runs on it.

        The mapping of a piece of `view` that is still alive goes with the piece.
        """
        with self.sole_use.at_rest():
            if self._map is None:
                return
            if any(reference() is not None for reference, _ in self._watchers):
                raise BadUsage("guest RAM: a processor still runs on it; close that first")
            if self._log is not None:
                self._log.close()
            self._view.release()
            self._buffer.release()
            with suppress(BufferError):
                self._map.close()
            self._map = None
            self._close_descriptor()

    def __enter__(self) -> "GuestRam":
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> mmap.mmap:
        if self._map is None:
            raise Closed("guest RAM: closed")
        return self._map

    def _check(self, paddr: int, n: int) -> mmap.mmap:
        """The memory, if it has these bytes. Raises Closed, BadUsage, OutsideRam."""
        memory = self._open()
        if not type(paddr) is type(n) is int:  # 0.1 us, against 1.5 us for what follows
            arguments.whole_number("paddr", paddr)
            arguments.whole_number("n", n)
        if paddr < 0 or n < 0 or paddr + n > self.size:
            raise OutsideRam(
                f"guest RAM: {n:#x} bytes at {paddr:#x} are not within its {self.size:#x}: give the guest more memory"
            )
        return memory


def _weak(watcher: Watcher) -> _WeakWatcher:
    """A method and a reference to its object: a WeakMethod is called by 0.4 us of Python at each write."""
    assert isinstance(watcher, MethodType)
    return weakref.ref(watcher.__self__), watcher.__func__


def _bytes_of(data: bytes | bytearray | memoryview) -> memoryview:
    """One dimension of bytes. Raises BadUsage."""
    try:
        piece = memoryview(data)
    except TypeError:
        raise BadUsage(f"data={shortened(data)}: bytes are wanted") from None
    if piece.ndim != 1 or piece.itemsize != 1 or not piece.contiguous:
        piece = memoryview(piece.tobytes())
    return piece
