"""One processor (for each engine, where code runs) for all tests of a module; each test starts afresh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.engine.library.library import (
    Library,
    load_library,
)
from tests.engines import factories
from tests.x86.system.processor import Processor


@pytest.fixture(scope="session")
def library() -> Library:
    return load_library()


@pytest.fixture(scope="module")
def shared_processor(library: Library) -> Iterator[Processor]:
    processor = Processor(library)
    yield processor
    processor.close()


@pytest.fixture(scope="module", params=factories())
def shared_engine(library: Library, request: pytest.FixtureRequest) -> Iterator[Processor]:
    processor = Processor(library, factories()[request.param])
    yield processor
    processor.close()


@pytest.fixture
def engine(shared_engine: Processor) -> Processor:
    """A processor under each engine in turn."""
    shared_engine.start()
    return shared_engine


@pytest.fixture
def processor(shared_processor: Processor) -> Processor:
    shared_processor.start()
    return shared_processor
