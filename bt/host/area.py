"""Memory that generated code and Python share."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from typing import NoReturn

from bt.errors import BadUsage, Closed


class Area:
    """Zero-filled memory that generated code reads and writes, at host address `address`; pages appear when touched."""

    def __init__(self, size: int, *, sparse: bool = False) -> None:
        """`size` in bytes; `sparse`: little of it will be touched. Raises BadUsage where the host has not that much."""
        try:
            # private: MADV_DONTNEED zeroes nothing of a shared mapping
            self._map: mmap.mmap | None = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise BadUsage(
                f"a processor's {size} bytes: the host refuses ({error.strerror}); close machines that are done"
            ) from error
        if sparse:
            with suppress(OSError):  # a kernel without huge pages gives none
                self._map.madvise(mmap.MADV_NOHUGEPAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.size = size

    @property
    def map(self) -> mmap.mmap:
        """The memory as bytes. Raises Closed."""
        if self._map is None:
            Released().refuse()
        return self._map

    def clear(self) -> None:
        # a fresh mapping in place costs nothing until touched
        self.map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Unmap; nothing may use `address` any more. Memory that a caller has a view of goes with the view."""
        if self._map is not None:
            with suppress(BufferError):
                self._map.close()
            self._map = None

    # as the storage of a bus's latches (bt/memory/bus.py), which outlives the processor

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return self.map[index]

    def __setitem__(self, index: int, value: int) -> None:
        memory = self._map
        if memory is None:
            Released().refuse()
        memory[index] = value


class Released:
    """What stands in the place of memory that was given back: whoever reads or writes it gets Closed."""

    def refuse(self) -> NoReturn:
        raise Closed("this processor is closed: make a new machine")

    def __getitem__(self, index: object) -> NoReturn:
        self.refuse()

    def __setitem__(self, index: object, value: object) -> NoReturn:
        self.refuse()
