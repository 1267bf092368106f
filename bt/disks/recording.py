"""What reaches an image, and in which order: for finding out what a power failure would have left."""

import random

from bt.disks.image import SECTOR_BYTES, Image

Write = tuple[int, bytes]  # offset, data
FLUSH = None  # in the place of a write: all writes before it are on the medium


class Recording:
    """An image that keeps a log of the writes to `inner`, and of its flushes once they are done."""

    def __init__(self, inner: Image) -> None:
        self._inner = inner
        self.name = inner.name
        self.size = inner.size
        self.read_only = inner.read_only
        self.log: list[Write | None] = []

    def read(self, offset: int, n: int) -> bytes:
        return self._inner.read(offset, n)

    def read_cached(self, offset: int, n: int) -> bytes | bytearray | None:
        return self._inner.read_cached(offset, n)

    def write(self, offset: int, data: bytes) -> None:
        self._inner.write(offset, data)
        self.log.append((offset, bytes(data)))

    def flush(self) -> None:
        self._inner.flush()
        self.log.append(FLUSH)

    def close(self) -> None:
        self._inner.close()


def after_power_failure(
    log: list[Write | None], cut: int, chance: random.Random, image: bytearray, sector_bytes: int = SECTOR_BYTES
) -> None:
    """Make of `image`, as it was when `log` began, what a disk may hold whose power fails after `cut` entries.

    What was written before the last flush is there. Of the rest each sector is or is not, as a cache may write back
    sectors in any order; a sector itself, `sector_bytes` on the medium, is whole.
    """
    flushed = max((index for index in range(cut) if log[index] is FLUSH), default=0)
    for index, entry in enumerate(log[:cut]):
        if entry is FLUSH:
            continue
        offset, data = entry
        if index < flushed:
            image[offset : offset + len(data)] = data
        else:
            at, end = offset, offset + len(data)
            while at < end:
                stop = min((at // sector_bytes + 1) * sector_bytes, end)
                if chance.random() < 0.5:
                    image[at:stop] = data[at - offset : stop - offset]
                at = stop
