"""A disk image for tests that want no host, or one that fails or dawdles."""

import threading

from bt.disks.image import SECTOR_BYTES


class MemoryImage:
    """An image in memory; `gate` holds up whoever does requests, `broken` is raised by writes and flushes."""

    name = "memory"

    def __init__(self, content: bytes | bytearray = bytes(64 * SECTOR_BYTES), read_only: bool = False) -> None:
        self.size = len(content)
        self.bytes = bytearray(content)
        self.read_only = read_only
        self.flushes = 0
        self.gate = threading.Event()
        self.gate.set()
        self.broken: OSError | None = None
        self.is_closed = False
        self.threads: set[int] = set()

    def _pass(self) -> None:
        self.threads.add(threading.get_ident())
        assert self.gate.wait(10)
        if self.broken is not None:
            raise self.broken

    def read(self, offset: int, n: int) -> bytes:
        self._pass()
        return bytes(self.bytes[offset : offset + n])

    def read_cached(self, offset: int, n: int) -> bytes | None:
        return None

    def write(self, offset: int, data: bytes) -> None:
        self._pass()
        self.bytes[offset : offset + len(data)] = data

    def flush(self) -> None:
        self._pass()
        self.flushes += 1

    def close(self) -> None:
        self.is_closed = True
