"""The library's tables as one CPU model needs them: instructions that it has not look like those that nobody has.

Native code only reads them, so all processors of a model go by the same ones.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from itertools import groupby
from types import MappingProxyType

from bt.engine.structures import NO_PLAN, PLAN_BYTES, VARIANTS
from bt.x86.cpu_model import CpuModel
from bt.x86.opcodes import FORMS

# The plans of a form that only the interpreter executes.
_NO_PLANS = struct.pack("<3I", NO_PLAN, NO_PLAN, NO_PLAN).ljust(PLAN_BYTES, b"\0") * VARIANTS


def _by_feature() -> Mapping[str, tuple[int, ...]]:
    wanted = sorted((form.cpuid, form.id) for form in FORMS if form.cpuid is not None)
    return MappingProxyType(
        {feature: tuple(number for _, number in group) for feature, group in groupby(wanted, key=lambda pair: pair[0])}
    )


_FORMS_BY_FEATURE = _by_feature()  # numbers of the forms that ask for a CPUID feature


def missing_features(model: CpuModel) -> frozenset[str]:
    """Features that the model lacks and instructions ask for: models that lack the same have the same tables."""
    return frozenset(feature for feature in _FORMS_BY_FEATURE if model.lacks(feature))


class ModelTables:
    """Tables by the names of the control block's fields (CONTROL), each a row a form where it has to do with forms."""

    def __init__(self, tables: Mapping[str, bytes], missing: frozenset[str]) -> None:
        """The library's `tables` without what asks for one of the `missing` features."""
        rows = {name: len(tables[name]) // len(FORMS) for name in ("handlers", "fp_forms")}
        # the first form is the one of encodings that are undefined
        instead = {
            "handlers": tables["handlers"][: rows["handlers"]],
            "fp_forms": bytes(rows["fp_forms"]),
            "flat_plans": _NO_PLANS,
            "real_plans": _NO_PLANS,
            "other_plans": _NO_PLANS,
        }
        gone = [number for feature in missing for number in _FORMS_BY_FEATURE[feature]]
        self._tables = {
            name: _patched(table, gone, instead[name]) if gone and name in instead else table
            for name, table in tables.items()
        }

    def address(self, name: str) -> int:
        """Host address of a table, good as long as this object lives."""
        # bytes never move and are never written: a copy for native code would be a copy a vCPU
        address = ctypes.cast(ctypes.c_char_p(self._tables[name]), ctypes.c_void_p).value
        assert address is not None
        return address


def _patched(table: bytes, gone: list[int], row: bytes) -> bytes:
    content = bytearray(table)
    for number in gone:
        content[number * len(row) : (number + 1) * len(row)] = row
    return bytes(content)
