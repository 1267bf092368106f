"""What an image is to whoever reads and writes it: bytes, whole sectors at a time."""

from typing import Protocol

SECTOR_BYTES = 512


class Image(Protocol):
    """`size` bytes, a multiple of the sector. Offsets and lengths are whole sectors inside of it.

    Methods raise OSError where the host does.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def read_only(self) -> bool: ...
    def read(self, offset: int, n: int) -> bytes: ...
    def read_cached(self, offset: int, n: int) -> bytes | bytearray | None:
        """As `read`, if that takes no waiting for a medium, and nothing is wrong; otherwise None."""

    def write(self, offset: int, data: bytes) -> None: ...
    def flush(self) -> None:
        """What was written before is on the medium when this returns."""

    def close(self) -> None: ...
