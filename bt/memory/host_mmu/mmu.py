"""The back-end with views, as Python sees it: the soft MMU, and beside it guest memory laid out as the guest sees it.

While none has been opened this is the soft MMU and nothing else. What lies in those with paging is known to native code
alone (paged.py); Python has to do with the one without.
"""

from __future__ import annotations

import mmap

from bt.host.area import Area
from bt.host.reserved import Refused, Reserved
from bt.memory.dirty_log import runs
from bt.memory.host_mmu.layout import (
    GUARD_BEHIND_BYTES,
    GUARD_BYTES,
    PAGED_VIEW,
    PAGED_VIEW_BYTES,
    PAGED_VIEWS,
    PROBE,
    PROBE_BYTES,
    VIEW_BYTES,
)
from bt.memory.map import PhysicalMap, Range
from bt.memory.soft_mmu.mmu import SoftMmu
from bt.x86.page import PAGE

_READ, _READ_WRITE = mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE
_WORDS = 8 * 512  # bytes of page_info that are looked at together


class HostMmu(SoftMmu):
    """The soft MMU and, once they are opened, the views: of unpaged memory, and with paging below CPL 3 and for it."""

    _view: Reserved | None = None
    _opened = False

    def open_views(self, memory: PhysicalMap, code_maps: Area, paged_views: Area) -> None:
        """Lay out what is mapped now. `paged_views`: room for the PAGED_VIEWs. Raises Refused where the host does not
        want to.
        """
        self._views: list[Reserved] = []
        self._memory, self._code_maps, self._paged_views = memory, code_maps, paged_views
        try:
            guards = GUARD_BYTES, GUARD_BEHIND_BYTES
            for _ in range(1 + PAGED_VIEWS):
                self._views.append(Reserved(VIEW_BYTES, align=VIEW_BYTES, guards=guards))
                self._views[-1].protect(PROBE, PROBE_BYTES, _READ)
            self._view = self._views[0]
            for each in memory:
                memory.presume_written(each)
                self._lay(each)
        except Refused:
            self.close_views()
            raise
        ram = memory.ram
        for number, view in enumerate(self._views[1:]):
            fields = {"address": view.address, "fd": ram.fd, "ram": ram.address, "ram_bytes": ram.size}
            for name, value in fields.items():
                at = number * PAGED_VIEW_BYTES + PAGED_VIEW.offsets[name]
                paged_views.map[at : at + 8] = value.to_bytes(8, "little")
        self._state["paged_views"] = paged_views.address
        self._state["user_view"] = paged_views.address + PAGED_VIEW_BYTES
        self._state["unpaged_view"] = self._view.address
        self._opened = True

    def close_views(self) -> None:
        """Have none any more."""
        lost = self._opened and not self._state["unpaged_view"]
        if not lost:  # native code gives them back itself, but for the guards before them
            for view in self._views:
                view.close()
        self._view, self._views, self._opened = None, [], False
        for name in ("unpaged_view", "paged_views", "user_view", "view", "view_open"):
            self._state[name] = 0

    def remapped(self, physical: int, size: int) -> None:
        super().remapped(physical, size)
        if self._view is None or not self._state["unpaged_view"] or physical >= VIEW_BYTES:
            return
        end = min(physical + size, VIEW_BYTES)
        try:
            self._view.unmap(physical, end - physical)
            for each in self._memory:
                if (part := each.part(physical, end)).length > 0:
                    self._lay(part)
        except Refused:
            self.close_views()
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
