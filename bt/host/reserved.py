"""Addresses of the host, reserved without memory."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from functools import cache

from bt.errors import BtError

_MAP_FAILED = ctypes.c_void_p(-1).value
_NORESERVE, _FIXED = 0x4000, 0x10
_DONTNEED, _NOHUGEPAGE = 4, 15
_AT_HWCAP2, _HWCAP2_FSGSBASE = 26, 2


class Refused(BtError):
    """The host does not let us have it; the message says what."""


def has_gs_base() -> bool:
    """Whether programs may set the base of GS."""
    libc = ctypes.CDLL(None)
    libc.getauxval.restype, libc.getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return bool(libc.getauxval(_AT_HWCAP2) & _HWCAP2_FSGSBASE)


def vendor() -> str:
    """Of the host's processor, as CPUID has it; empty where the host does not say."""
    return _cpu_info("vendor_id")


@cache
def cpu_flags() -> frozenset[str]:
    """What the host's processor has, as Linux names it; empty where the host does not say."""
    return frozenset(_cpu_info("flags").split())


def _cpu_info(wanted: str) -> str:
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == wanted:
                return value.strip()
    return ""


class Reserved:
    """`size` bytes of addresses at `address`, a multiple of `align`; until `close`.

    `writable`: memory that appears when touched; else nothing, until `map` puts something there.
    """

    def __init__(
        self, size: int, *, align: int = mmap.PAGESIZE, guards: tuple[int, int] = (0, 0), writable: bool = False
    ) -> None:
        """`guards`: so many bytes before and behind are reserved too, and stay empty. Raises Refused."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self._libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        rights = mmap.PROT_READ | mmap.PROT_WRITE if writable else 0
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
        before, behind = guards
        self._whole = before + size + behind
        slack = align if align > mmap.PAGESIZE else 0
        found = self._libc.mmap(None, self._whole + slack, rights, flags, -1, 0)
        if found == _MAP_FAILED:
            raise Refused(f"the host refuses {size >> 30} GiB of addresses")
        self.address = -(-(found + before) // align) * align
        self._begin = self.address - before
        end = found + self._whole + slack
        if self._begin > found:
            self._libc.munmap(found, self._begin - found)
        if end > self._begin + self._whole:
            self._libc.munmap(self._begin + self._whole, end - self._begin - self._whole)
        self.size = size
        if writable:  # little of it will be touched, so no huge pages; a kernel without them refuses, and gives none
            self._libc.madvise(self.address, size, _NOHUGEPAGE)

    def clear(self) -> None:
        """Give back the memory of all of it: zeros from now on."""
        self._libc.madvise(self.address, self.size, _DONTNEED)

    def map(self, offset: int, size: int, fd: int, file_offset: int, rights: int) -> None:
        """Put part of a file there, shared. Raises Refused."""
        flags = mmap.MAP_SHARED | _FIXED
        if self._libc.mmap(self.address + offset, size, rights, flags, fd, file_offset) == _MAP_FAILED:
            raise Refused("the host refuses so many mappings")

    def unmap(self, offset: int, size: int) -> None:
        """Have nothing there. Raises Refused."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE | _FIXED
        if self._libc.mmap(self.address + offset, size, 0, flags, -1, 0) == _MAP_FAILED:
            raise Refused("the host refuses so many mappings")

    def protect(self, offset: int, size: int, rights: int) -> None:
        """Change the rights of part of it. Raises Refused."""
        if self._libc.mprotect(self.address + offset, size, rights):
            raise Refused("the host refuses so many mappings")

    def close(self) -> None:
        """Give the addresses back; twice is harmless."""
        if self._whole:
            self._libc.munmap(self._begin, self._whole)
            self._whole = 0
