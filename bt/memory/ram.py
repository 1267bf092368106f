"""Guest RAM: one memfd, mapped shared, so that a later back-end can map the same pages a second time."""

import ctypes
import mmap
import os
from types import TracebackType

from bt.errors import BadUsage, BtError

PAGE_SIZE = 4096


class OutsideRam(BtError):
    """An access to guest-physical memory that is not backed by RAM."""


class GuestRam:
    """`size` bytes of guest-physical RAM starting at guest-physical address zero.

    The host hands out zeroed pages on first touch: an untouched gigabyte costs nothing.
    `address` is the host virtual address of guest-physical zero; `fd` is the memfd (close-on-exec);
    `view` covers all of it and dies with `close()`.
    """

    def __init__(self, size: int) -> None:
        """Raises BadUsage unless `size` (bytes) is a positive multiple of the 4 KiB page."""
        if size <= 0 or size % PAGE_SIZE:
            raise BadUsage(f"guest RAM of {size} bytes: give a positive multiple of {PAGE_SIZE} bytes")
        self.size = size
        self.fd = os.memfd_create("bt-guest-ram", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, size)
            self._map = mmap.mmap(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except (OSError, OverflowError) as error:
            os.close(self.fd)
            raise BadUsage(
                f"guest RAM of {size} bytes: the host refuses ({error}); give the guest less memory"
            ) from error
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.view = memoryview(self._map)

    def read(self, paddr: int, n: int) -> bytes:
        """The `n` bytes at guest-physical `paddr`; raises OutsideRam unless all of them are RAM."""
        self._check(paddr, n)
        return bytes(self.view[paddr : paddr + n])

    def write(self, paddr: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at guest-physical `paddr`; raises OutsideRam, with nothing written, unless all of it fits."""
        length = memoryview(data).nbytes
        self._check(paddr, length)
        self.view[paddr : paddr + length] = data

    def close(self) -> None:
        """Unmap and close; doing it twice is harmless. Raises BufferError while slices of `view` are still alive."""
        if self._map.closed:
            return
        self.view.release()
        self._map.close()
        os.close(self.fd)

    def __enter__(self) -> "GuestRam":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, paddr: int, n: int) -> None:
        if paddr < 0 or n < 0 or paddr + n > self.size:
            raise OutsideRam(
                f"guest RAM: {n:#x} bytes at {paddr:#x} are not within its {self.size:#x}: give the guest more memory"
            )
