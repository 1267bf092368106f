"""The library's tables as one CPU model needs them: instructions that it has not look like those that nobody has.

Native code only reads them, so all processors of a model go by the same ones.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable

from bt.codegen.store import Sections
from bt.engine.structures import NO_PLAN, PLAN_BYTES, VARIANTS
from bt.x86.page import PAGE

# The plans of a form that only the interpreter executes.
_NO_PLANS = struct.pack("<3I", NO_PLAN, NO_PLAN, NO_PLAN).ljust(PLAN_BYTES, b"\0") * VARIANTS
_ONES = memoryview(bytearray(b"\xff" * (3 * PAGE)))


def open_bus() -> int:
    """Host address of two whole pages of ones: what is fetched where there is no memory. For all processors."""
    return -(-_address(_ONES) // PAGE) * PAGE


class ModelTables:
    """Tables by the names of the control block's fields (CONTROL), each a row a form where it has to do with forms."""

    def __init__(self, tables: Sections, forms: int, missing: Iterable[int]) -> None:
        """The library's `tables`, of so many forms, without the `missing` ones."""
        # the first form is the one of encodings that are undefined
        of_undefined: dict[str, bytes | memoryview] = {
            name: tables[name][: len(tables[name]) // forms] for name in ("handlers", "long_handlers") if name in tables
        }
        instead: dict[str, bytes | memoryview] = {
            **of_undefined,
            "fp_forms": bytes(len(tables["fp_forms"]) // forms),
            "flat_plans": _NO_PLANS,
            "real_plans": _NO_PLANS,
            "other_plans": _NO_PLANS,
        }
        gone = list(missing)
        self._tables = {
            name: _patched(table, gone, instead[name]) if gone and name in instead else table
            for name, table in tables.items()
        }

    def address(self, name: str) -> int:
        """Host address of a table, good as long as this object lives; 0: this model needs none."""
        return _address(self._tables[name]) if name in self._tables else 0


def _address(table: memoryview) -> int:
    # nobody writes there: a copy for native code would be a copy a vCPU
    return ctypes.addressof(ctypes.c_char.from_buffer(table))


def _patched(table: memoryview, gone: Iterable[int], row: bytes | memoryview) -> memoryview:
    copy, size = memoryview(bytearray(table)), len(row)
    for number in gone:
        copy[number * size : (number + 1) * size] = row
    return copy
