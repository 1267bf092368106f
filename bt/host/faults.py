"""SIGSEGV and SIGFPE of the process: a native handler of ours, in front of whoever was there before.

Code that accesses memory without looking is interrupted by the host where it may not. The handler runs in the thread
that was interrupted, so it must be native; it reads a registry of the code that belongs to it. Handler and registry
stay as long as the process does: somebody may have noted our handler as the one before theirs.

A library that takes the signals later (`faulthandler.enable()` does) would see our faults as crashes. So whoever is
about to run such code asks first whose the signals are (`own_faults` in the native library).
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import threading

from bt.errors import BadUsage
from bt.host.area import Area

SIGSEGV, SIGFPE = 11, 8

# The kernel's struct sigaction on x86-64: handler, flags, restorer, mask.
ACTION_BYTES, ACTION_HANDLER = 32, 0
_ACTION = struct.Struct("<4Q")
_SIGINFO, _ONSTACK, _NODEFER, _RESTORER = 4, 0x0800_0000, 0x4000_0000, 0x0400_0000

# The registry.
NEW_ACTION, SCRATCH = 0, 96
PREVIOUS = {SIGSEGV: 32, SIGFPE: 64}
COUNT, ENTRIES = 128, 192
# Of an entry begin and end of a piece of code, state pointer, numbers of its first site and of the first behind it.
_ENTRY = struct.Struct("<5Q")
ENTRY_BYTES = _ENTRY.size
ENTRY_END, ENTRY_STATE, ENTRY_FIRST_SITE, ENTRY_SITES_END = 8, 16, 24, 32
_MOST = 4096

_RETURN = bytes.fromhex("b80f000000 0f05")  # mov eax, 15 (rt_sigreturn); syscall
_LOAD_REGISTRY = bytes.fromhex("48b9")  # mov rcx, imm64: the fourth argument


class _Faults:
    """Of the process. Nothing is there before the first `registry`, and nothing goes again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registry: Area | None = None
        self._code: mmap.mmap | None = None

    def registry(self, handler: bytes) -> int:
        """Host address of the registry. `handler`: its machine code, wherever it lies; the first one is it."""
        with self._lock:
            if self._registry is None:
                self._make(handler)
            assert self._registry is not None
            return self._registry.address

    def _make(self, handler: bytes) -> None:
        registry = Area(ENTRIES + _MOST * ENTRY_BYTES)
        try:
            code = mmap.mmap(-1, 2 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise BadUsage(f"a page for a signal handler: the host refuses ({error.strerror})") from error
        begin = ctypes.addressof(ctypes.c_char.from_buffer(code))
        entry = _LOAD_REGISTRY + struct.pack("<Q", registry.address)
        restorer = begin + len(entry) + len(handler)
        code.write(entry + handler + _RETURN)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(begin), ctypes.c_size_t(2 * mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC):
            raise BadUsage("a page for a signal handler: the host refuses to run it")
        flags = _SIGINFO | _ONSTACK | _NODEFER | _RESTORER
        registry.map[NEW_ACTION : NEW_ACTION + ACTION_BYTES] = _ACTION.pack(begin, flags, restorer, 0)
        self._registry, self._code = registry, code

    def enter(self, begin: int, end: int, state: int, sites: tuple[int, int]) -> int:
        """Have faults in [begin, end) belong to the processor with this state; answers the number of the entry.

        `sites`: number of the first that lies there, and of the first that does not. Raises BadUsage when there are
        too many. A handler in another thread may read the registry meanwhile: it comes upon nothing that is half there.
        """
        with self._lock:
            words = self._words()
            count = words[COUNT // 8]
            for number in range(count):
                if not words[self._word(number) + 1]:
                    break
            else:
                number = count
                if number == _MOST:
                    raise BadUsage(f"more than {_MOST} pieces of code that the host's MMU interrupts")
            at = self._word(number)
            words[at], words[at + 2], words[at + 3], words[at + 4] = begin, state, *sites
            words[at + 1] = end
            words[COUNT // 8] = max(count, number + 1)
            return number

    def no_more_sites(self, number: int, behind: int) -> None:
        """In this piece there are none from number `behind` on."""
        with self._lock:
            self._words()[self._word(number) + 4] = behind

    def leave(self, number: int) -> None:
        """The code is gone."""
        with self._lock:
            at = self._word(number)
            self._words()[at + 1] = 0  # no address is in it from now on
            self._words()[at] = 0

    def _words(self) -> memoryview:
        assert self._registry is not None
        return memoryview(self._registry.map).cast("Q")

    @staticmethod
    def _word(number: int) -> int:
        return (ENTRIES + number * ENTRY_BYTES) // 8


# State of a module, because it is the state of a process: it has one handler a signal.
FAULTS = _Faults()
