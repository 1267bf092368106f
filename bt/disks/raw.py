"""Raw images: a host file, or a block device of the host's, byte for byte."""

import os
import stat

from bt.disks.image import SECTOR_BYTES
from bt.disks.locks import lock
from bt.errors import BadUsage


class RawImage:
    """The file at `path`. Nobody else opens it for the guest.

    A file that is no multiple of 512 bytes has one sector more, whose missing bytes read as zeros; writing that sector
    makes the file longer (as QEMU's raw driver does: tests/devices/storage/ata/test_ata_against_qemu.py). A file that
    somebody cuts short meanwhile reads as zeros, too.
    """

    def __init__(self, path: str, read_only: bool = False) -> None:
        """Open and lock it. Raises BadUsage, with advice, where the host or another user of the file says no."""
        self.name = path
        self.read_only = read_only
        self._descriptor: int | None = self._open(path, read_only)
        try:
            self.size = -(-self._measure() // SECTOR_BYTES) * SECTOR_BYTES
            if self.size == 0:
                advice = "is it the right file?" if read_only else f"give the disk a size, with `truncate -s 1G {path}`"
                raise BadUsage(f"{path}: empty; {advice}")
            lock(self._descriptor, path, read_only)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _open(path: str, read_only: bool) -> int:
        if not path:
            raise BadUsage("a disk image without a name; give the file's")
        # a FIFO without a writer would wait
        flags = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_RDONLY if read_only else os.O_RDWR)
        try:
            return os.open(path, flags)
        except OSError as error:
            is_there = not read_only and os.access(path, os.R_OK) and not os.path.isdir(path)
            advice = "; add readonly=on, or -snapshot to keep what is written for this run only" if is_there else ""
            raise BadUsage(f"{path}: cannot open the disk image ({error.strerror}){advice}") from error
        except ValueError as error:  # a null character
            raise BadUsage(f"{path}: no name of a file") from error

    def _measure(self) -> int:
        mode = os.fstat(self._fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            kind = "a directory" if stat.S_ISDIR(mode) else "neither a file nor a block device"
            raise BadUsage(f"{self.name}: {kind}; give a disk image")
        return os.lseek(self._fd, 0, os.SEEK_END)

    @property
    def _fd(self) -> int:
        if self._descriptor is None:
            raise OSError("closed")
        return self._descriptor

    def read(self, offset: int, n: int) -> bytes:
        data = os.pread(self._fd, n, offset)
        while n - len(data) > 0:
            more = os.pread(self._fd, n - len(data), offset + len(data))
            if not more:
                return data.ljust(n, b"\0")
            data += more
        return data

    def read_cached(self, offset: int, n: int) -> bytearray | None:
        data = bytearray(n)
        try:
            found = os.preadv(self._fd, [data], offset, os.RWF_NOWAIT)
        except OSError:  # not there, or a file system that cannot say so
            return None
        return data if found == n else None  # a copy of 128 KiB would cost 57 us beside these 30

    def write(self, offset: int, data: bytes) -> None:
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)

    def flush(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Give the file and its locks back; doing it twice is harmless."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
