"""The back-end with a view, as Python sees it: the soft MMU, and beside it guest memory laid out as the guest sees it.

While no view has been opened this is the soft MMU and nothing else.
"""

from __future__ import annotations

import mmap

from bt.host.area import Area
from bt.host.reserved import Refused, Reserved
from bt.memory.dirty_log import runs
from bt.memory.host_mmu.layout import GUARD_BYTES, VIEW_BYTES
from bt.memory.map import PhysicalMap, Range
from bt.memory.soft_mmu.mmu import SoftMmu
from bt.x86.page import PAGE

_READ, _READ_WRITE = mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE
_WORDS = 8 * 512  # bytes of page_info that are looked at together


class HostMmu(SoftMmu):
    """The soft MMU and, once it is opened, a view of unpaged memory."""

    _view: Reserved | None = None

    def open_view(self, memory: PhysicalMap, code_maps: Area) -> None:
        """Lay out what is mapped now. Raises Refused where the host does not want to."""
        view = Reserved(VIEW_BYTES, align=VIEW_BYTES, margin=GUARD_BYTES)
        self._view, self._memory, self._code_maps = view, memory, code_maps
        try:
            for each in memory:
                memory.presume_written(each)
                self._lay(each)
        except Refused:
            self.close_view()
            raise
        self._state["view"] = view.address

    def close_view(self) -> None:
        """Have none any more."""
        if (view := self._view) is not None:
            self._view = None
            lost = self._state["view"] != view.address  # native code has given it back, but for the guard before it
            if not lost:
                view.close()
            self._state["view"] = 0

    def remapped(self, physical: int, size: int) -> None:
        super().remapped(physical, size)
        if self._view is None or not self._state["view"] or physical >= VIEW_BYTES:
            return
        end = min(physical + size, VIEW_BYTES)
        try:
            self._view.unmap(physical, end - physical)
            for each in self._memory:
                if (part := each.part(physical, end)).length > 0:
                    self._lay(part)
        except Refused:
            self.close_view()
            self._state["view_wanted"] = 0
            self.invalidate_all()

    def _lay(self, part: Range) -> None:
        """Map one range, read-only but for the pages that may be written without anybody's attention."""
        part = part.part(0, VIEW_BYTES)
        if part.length <= 0:
            return
        view = self._view
        assert view is not None
        view.map(part.start, part.length, part.memory.fd, part.offset, _READ)
        if part.is_writable:
            first = part.start // PAGE
            for begin, end in runs(self._free_pages(part)):
                view.protect((first + begin) * PAGE, (end - begin) * PAGE, _READ_WRITE)

    def _free_pages(self, part: Range) -> bytes:
        """One byte a page, as in the dirty log, for those that holds no code."""
        first, last = part.start // PAGE, part.end // PAGE
        free = bytearray(self._memory.marks(first, last))
        for at in range(8 * first, 8 * last, _WORDS):
            words = self._code_maps.map[at : min(at + _WORDS, 8 * last)]
            if words.strip(b"\0"):
                for place in range(0, len(words), 8):
                    if any(words[place : place + 8]):
                        free[(at + place) // 8 - first] = 0
        return bytes(free)
