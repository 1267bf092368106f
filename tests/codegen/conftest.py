"""Arenas for the tests of this folder."""

from collections.abc import Iterator

import pytest

from bt.codegen.arena import Arena


@pytest.fixture
def arena() -> Iterator[Arena]:
    with Arena(1 << 16, name="test") as one:
        yield one
