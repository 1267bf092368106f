"""What the everyday run takes of parameters that are many; CI runs the rest as `slow`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet


def everyday(values: Iterable[Any], chosen: Container[Any]) -> list[ParameterSet]:
    """All of the values, of which the everyday run has those that are `chosen`."""
    return [pytest.param(value, marks=() if value in chosen else pytest.mark.slow) for value in values]


def one_in(share: int, *axes: Sequence[Any]) -> list[ParameterSet]:
    """All combinations, of which the everyday run has one in `share`.

    Any two values of two axes are together in one of those, as long as a third axis has `share` values.
    """
    return [
        pytest.param(
            *(value for _, value in places),
            marks=pytest.mark.slow if sum(number for number, _ in places) % share else (),
        )
        for places in product(*(list(enumerate(axis)) for axis in axes))
    ]
