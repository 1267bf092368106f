"""Only processors with long mode have the handlers of 64-bit code, which are apart from the library."""

from __future__ import annotations

import pytest

from bt.engine.library.library import Library
from bt.engine.library.shared import shared_library
from bt.engine.structures import LONG_VARIANTS
from bt.x86 import cpu_model
from bt.x86.opcodes import FORMS


@pytest.fixture
def library() -> Library:
    return shared_library()


def test_who_has_no_long_mode_has_none(library: Library) -> None:
    assert library.tables(cpu_model.parse("pentium4")).address("long_handlers") == 0
    assert library.tables(cpu_model.parse("pentium4")).address("handlers")


def test_models_that_differ_in_long_mode_alone_have_tables_of_their_own(library: Library) -> None:
    table = library.tables(cpu_model.parse("x86-64-v1"))
    assert table.address("long_handlers")
    assert library.tables(cpu_model.parse("x86-64-v1,-lm,-syscall")).address("long_handlers") == 0


def test_all_are_in_their_room(library: Library) -> None:
    addresses = library.long_handlers().cast("Q").tolist()
    assert len(addresses) == len(FORMS) * LONG_VARIANTS
    room = range(library.arena.exec_base + library.long_at, library.arena.exec_base + library.arena.used)
    assert all(address in room for address in addresses)
