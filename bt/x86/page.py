"""The page: what paging, the TLBs, code tracking and host mappings of guest memory have in common."""

from __future__ import annotations

from typing import Final

PAGE: Final = 4096  # bytes
REGION_SHIFT: Final = 22  # 4 MiB: few pages are longer, and none lies across two such regions
HUGE_SHIFT: Final = 30  # 1 GiB: no page is longer
