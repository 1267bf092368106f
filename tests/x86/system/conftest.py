"""One processor for all tests of a module; each starts afresh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.engine.library import Library, load_library
from tests.x86.system.processor import Processor


@pytest.fixture(scope="session")
def library() -> Library:
    return load_library()


@pytest.fixture(scope="module")
def shared_processor(library: Library) -> Iterator[Processor]:
    processor = Processor(library)
    yield processor
    processor.close()


@pytest.fixture
def processor(shared_processor: Processor) -> Processor:
    shared_processor.start()
    return shared_processor
