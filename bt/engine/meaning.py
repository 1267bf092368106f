"""From the opcode table's `meaning` column to the function that has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import walk_packages
from typing import Any

from bt.x86 import fp, semantics, system


@cache
def packages() -> tuple[str, ...]:
    """The packages whose modules have meanings and runtime functions."""
    inner = [info.name for info in walk_packages(system.__path__, f"{system.__name__}.") if info.ispkg]
    return (semantics.__name__, fp.__name__, system.__name__, *sorted(inner))


@cache
def meaning_function(meaning: str) -> Callable[..., None]:
    """ "arith.add" -> bt.x86.semantics.arith.add. LookupError names the form's meaning when nobody has it."""
    module_name, _, function_name = meaning.partition(".")
    for package in packages():
        if find_spec(f"{package}.{module_name}") is not None:
            function: Any = getattr(import_module(f"{package}.{module_name}"), function_name, None)
            if function is not None:
                return function  # type: ignore[no-any-return]  # getattr is untyped
    raise LookupError(f"no function for meaning {meaning!r}")
