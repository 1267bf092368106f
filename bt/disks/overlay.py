"""`-snapshot`: what the guest writes goes to a temporary file, and with it at the end."""

import os
import tempfile

from bt.disks.image import Image

BLOCK_BYTES = 4096  # a host file system's block: a hole is no smaller


class Overlay:
    """Reads what was written, and `base` elsewhere; `base` is never changed.

    The temporary file has no name, so that nothing is left behind however bt ends; it is sparse and every block has in
    it the place that it has in the base. A bit a block says which there are (32 MiB of them for 1 TiB, touched where
    used). Flushing needs nothing: nobody can find the file after a crash.
    """

    read_only = False

    def __init__(self, base: Image) -> None:
        """Raises OSError where the host has no place for temporary files."""
        self._base = base
        self.name = base.name
        self.size = base.size
        # as QEMU: /tmp is often RAM
        place = os.environ.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else None)
        descriptor, path = tempfile.mkstemp(prefix="bt-overlay-", dir=place)
        os.unlink(path)
        self._descriptor: int | None = descriptor
        self._written = bytearray(-(-self.size // BLOCK_BYTES) // 8 + 1)

    def _is_written(self, block: int) -> bool:
        return bool(self._written[block >> 3] >> (block & 7) & 1)

    def read(self, offset: int, n: int) -> bytes:
        parts: list[bytes] = []
        end = offset + n
        while offset < end:
            block = offset // BLOCK_BYTES
            is_written = self._is_written(block)
            run_end = (block + 1) * BLOCK_BYTES
            while run_end < end and self._is_written(run_end // BLOCK_BYTES) == is_written:
                run_end += BLOCK_BYTES
            run_end = min(run_end, end)
            n = run_end - offset
            parts.append(os.pread(self._fd, n, offset) if is_written else self._base.read(offset, n))
            offset = run_end
        return b"".join(parts)

    def read_cached(self, offset: int, n: int) -> bytes | bytearray | None:
        first, last = offset // BLOCK_BYTES, (offset + n - 1) // BLOCK_BYTES
        if any(self._is_written(block) for block in range(first, last + 1)):
            return None
        return self._base.read_cached(offset, n)

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        first, last = offset // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        # blocks that are written in part, and for the first time, take the rest from the base
        start = offset
        if offset % BLOCK_BYTES and not self._is_written(first):
            start = first * BLOCK_BYTES
            data = self._base.read(start, offset - start) + data
        whole_end = min((last + 1) * BLOCK_BYTES, self.size)
        if end < whole_end and not self._is_written(last):
            data += self._base.read(end, whole_end - end)
        written = 0
        while written < len(data):
            written += os.pwrite(self._fd, memoryview(data)[written:], start + written)
        for block in range(first, last + 1):
            self._written[block >> 3] |= 1 << (block & 7)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        """Forget what was written, and close the base; doing it twice is harmless."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._base.close()

    @property
    def _fd(self) -> int:
        if self._descriptor is None:
            raise OSError("closed")
        return self._descriptor
