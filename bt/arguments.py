"""Arguments of the API: one of the wrong type or out of range is BadUsage, which names it and says what is wanted.

A `bool` is no number here: `run(max_insns=True)` is a slip.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from reprlib import repr as shortened

from bt.errors import BadUsage


def require(good: bool, name: str, value: object, wanted: str) -> None:
    """Raise BadUsage unless `good`; `wanted` goes on after the argument and a colon."""
    if not good:
        raise BadUsage(f"{name}={shortened(value)}: {wanted}")


def whole_number(
    name: str,
    value: object,
    wanted: str = "a whole number is wanted",
    *,
    least: float = -math.inf,
    most: float = math.inf,
) -> None:
    """Raise BadUsage unless `value` is an int from `least` to `most`, both included."""
    require(isinstance(value, int) and not isinstance(value, bool) and least <= value <= most, name, value, wanted)


_UNITS = {"B": 0, "K": 10, "M": 20, "G": 30}


def size_in_bytes(name: str, value: str) -> int:
    """A size as QEMU's -m has it: a number of MiB, or one with B, K, M or G behind it. BadUsage for anything else."""
    digits, unit = (value[:-1], value[-1:].upper()) if value[-1:].upper() in _UNITS else (value, "M")
    require(digits.isascii() and digits.isdigit(), name, value, "no size; write 64, 64M or 1G")
    return int(digits) << _UNITS[unit]


def instance(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raise BadUsage unless `value` is of one of the types."""
    require(isinstance(value, kinds), name, value, wanted)


def nearest(name: str, choices: Iterable[str]) -> str:
    """What to go on with after the name of something that there is not: the nearest that there is, and all."""
    import difflib  # which nobody needs who spells well

    there_are = list(choices)
    close = difflib.get_close_matches(name, there_are, n=1, cutoff=0.5)
    hint = f"; {close[0]} is nearest" if close else ""
    return f"{hint}; there are {', '.join(there_are)}"


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise BadUsage unless `value` is one of the names there are."""
    require(isinstance(value, str) and value in choices, name, value, f"there are {', '.join(choices)}")
