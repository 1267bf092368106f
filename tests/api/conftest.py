"""One native library for all tests of the API that need no library of their own."""

from __future__ import annotations

import pytest

from bt.engine.library.library import (
    Library,
    load_library,
)


@pytest.fixture(scope="session")
def library() -> Library:
    return load_library()
