"""Room for generated code.

Code is written through one mapping and runs through another of the same memory (W^X), so no page is ever writable and
executable at one address and the host's hardening stays intact.  x86 keeps instruction fetch coherent with stores by
physical address (SDM vol. 3A 11.6), so a fragment patched through the first view runs patched through the second.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import weakref
from contextlib import suppress
from types import TracebackType

from bt.codegen.errors import CodegenError
from bt.errors import BadUsage, Closed

MAX_ARENA_SIZE = 1 << 30  # bytes; rel32 then reaches everything inside, with room to spare

_PAGE = mmap.PAGESIZE
_MAP_FAILED = ctypes.c_void_p(-1).value


class ArenaFull(CodegenError):
    """No room is left: flush and start again, or make the arena larger."""


class Arena:
    """`size` bytes of memory that can be written at `write_base` and run at `exec_base`.

    Offsets count from the start of the arena and mean the same in both views.  Not safe for use by several threads, but
    for `keep`, `claim`, `release` and `trim`.
    """

    def __init__(self, size: int, *, name: str) -> None:
        """Reserve `size` bytes, rounded up to pages; `name` shows in /proc/PID/maps and in messages.

        Raises CodegenError where the kernel allows neither a second mapping nor a private one that is both writable
        and executable; ValueError for a size of none or of 1 GiB and more.
        """
        if not 0 < size < MAX_ARENA_SIZE:
            raise ValueError(f"arena {name}: size {size} is not in 1..{MAX_ARENA_SIZE - 1} bytes")
        self.name = name
        self.size = -(-size // _PAGE) * _PAGE
        self.used = 0
        self.closed = False
        self._lock = threading.RLock()  # the collector may come while it is held, and release what was forgotten
        self._claimed: set[int] = set()  # offsets
        self._spare: dict[int, list[int]] = {}  # given back: offsets by size
        self._touched: dict[int, int] = {}  # those of them that may still have memory: sizes by offset
        self._unmap: weakref.finalize[..., Arena] | None = None
        try:
            self._memory, self.exec_base = self._map_twice()
            self._unmap = weakref.finalize(self, _libc().munmap, self.exec_base, self.size)
            self._unmap.atexit = False  # a daemon thread may still run code while the interpreter goes down
            self._discard = mmap.MADV_REMOVE  # shared pages go only with the file's
        except OSError:
            self._memory = self._map_once()
            self.exec_base = _address(self._memory)
            self._discard = mmap.MADV_DONTNEED
        self.write_base = _address(self._memory)
        self.view = memoryview(self._memory)

    def _map_twice(self) -> tuple[mmap.mmap, int]:
        fd = os.memfd_create(f"bt-{self.name}", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, self.size)
            libc = _libc()
            base = libc.mmap(None, self.size, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_SHARED, fd, 0)
            if base == _MAP_FAILED:
                raise OSError(ctypes.get_errno(), "mmap")
            try:
                return mmap.mmap(fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE), base
            except BaseException:
                libc.munmap(base, self.size)
                raise
        finally:
            os.close(fd)

    def _map_once(self) -> mmap.mmap:
        # some hardened kernels refuse executable mappings of a memfd but not private ones
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        try:
            return mmap.mmap(-1, self.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection)
        except OSError as error:
            raise CodegenError(
                f"arena {self.name}: the kernel refuses executable memory ({error.strerror}): "
                "allow execmem for this process"
            ) from error

    def allocate(self, size: int, align: int = 16) -> int:
        """Take `size` bytes at a multiple of `align` (a power of two); return their offset, or raise ArenaFull."""
        offset = self.next_offset(align)
        if size < 0 or offset + size > self.size:
            raise ArenaFull(f"arena {self.name}: {size} bytes asked, {self.size - self.used} of {self.size} left")
        self.used = offset + size
        return offset

    def keep(self, image: bytes | memoryview) -> int:
        """Put code there for good, at whole pages; return its offset. For any thread. Raises ArenaFull, and Closed."""
        with self._lock:
            if self.closed:
                raise Closed(f"arena {self.name}: closed")
            offset = self.allocate(len(image), _PAGE)
            self.write(offset, image)
            return offset

    def claim(self, size: int, *, leaving: int = 0) -> int:
        """Take `size` bytes in whole pages until `release`, with `leaving` bytes left for others; return their offset.

        Raises ArenaFull, and Closed.
        """
        with self._lock:
            if self.closed:
                raise Closed(f"arena {self.name}: closed")
            if leaving and self._left() < size + leaving:
                raise ArenaFull(f"arena {self.name}: {size} bytes asked, and {leaving} are for others")
            spare = self._spare.get(size)
            offset = spare.pop() if spare else self.allocate(size, _PAGE)
            self._touched.pop(offset, None)
            self._claimed.add(offset)
            return offset

    def release(self, offset: int, size: int) -> None:
        """Give back what `claim` gave; nothing may run there any more."""
        with self._lock:
            self._claimed.remove(offset)
            self._spare.setdefault(size, []).append(offset)
            self._touched[offset] = size

    def _left(self) -> int:
        """Bytes that can be claimed."""
        return self.size - self.used + sum(size * len(offsets) for size, offsets in self._spare.items())

    def trim(self) -> None:
        """Give the host the memory of what has been released and not claimed again.

        Not done by `release`: whoever empties a code cache fills it again, and a page's first touch costs microseconds.
        """
        with self._lock:
            while self._touched and not self.closed:
                offset, size = self._touched.popitem()
                self._memory.madvise(self._discard, offset, -(-size // _PAGE) * _PAGE)

    def next_offset(self, align: int) -> int:
        """Where `allocate` would put something, at a multiple of `align`."""
        return (self.used + align - 1) & -align

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at `offset`; ValueError outside of the arena."""
        if not 0 <= offset <= offset + len(data) <= self.size:
            raise ValueError(
                f"arena {self.name}: {len(data)} bytes at offset {offset:#x} are outside of {self.size:#x}"
            )
        self.view[offset : offset + len(data)] = data

    def reset(self, to: int = 0) -> None:
        """Give back everything allocated from offset `to` on."""
        if not 0 <= to <= self.used:
            raise ValueError(f"arena {self.name}: cannot reset to {to:#x}, {self.used:#x} are in use")
        self.used = to

    def close(self) -> None:
        """Unmap.  Nothing may run in the arena any more; views that callers still hold stay readable.

        Raises BadUsage while something is claimed.
        """
        with self._lock:
            if self._claimed:
                raise BadUsage(f"arena {self.name}: in use by a processor: close that first")
            if self.closed:
                return
            self.closed = True
        if self._unmap is not None:
            self._unmap()
        self.view.release()
        with suppress(BufferError):  # a caller's slice of the view keeps the writable mapping until it goes
            self._memory.close()
        del self._memory

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc
