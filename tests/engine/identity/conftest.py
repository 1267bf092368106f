"""Tier 2 where there is one."""

from __future__ import annotations

import pytest

from bt.host.reserved import has_gs_base


@pytest.fixture(autouse=True)
def _has_tier_2() -> None:
    if not has_gs_base():
        pytest.skip("the host has no FSGSBASE, and so no tier 2")
