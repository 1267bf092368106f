"""A processor in 64-bit mode for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.engine.library.library import Library
from tests.x86.system.long_mode.long_processor import LongProcessor


@pytest.fixture
def processor(library: Library) -> Iterator[LongProcessor]:
    processor = LongProcessor(library)
    yield processor
    processor.close()
