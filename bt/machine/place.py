"""Places: addresses at which the guest wants something to answer, and may want it elsewhere later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from bt.memory.bus import BusConflict
from bt.memory.map import MapConflict

Place = Callable[[int | None], None]
"""Has something answer at an address from now on, or nowhere."""


def place(put: Callable[[int], Callable[[], None]]) -> Place:
    """`put(address)` has it answer there, and returns what takes it away again.

    Where the guest wants it where something else is already, that stays, and it is nowhere.
    """
    return _Placed(put)


class _Placed:
    """A `Place`. Not a closure: of those each is seven objects, and a machine has eleven places."""

    __slots__ = ("_put", "_take_away")

    def __init__(self, put: Callable[[int], Callable[[], None]]) -> None:
        self._put = put
        self._take_away: Callable[[], None] | None = None

    def __call__(self, address: int | None) -> None:
        if self._take_away is not None:
            self._take_away()
            self._take_away = None
        if address is not None:
            with suppress(BusConflict, MapConflict):
                self._take_away = self._put(address)


def places(regions: Mapping[int, Place]) -> Callable[[int, int | None], None]:
    """What a PCI function calls when it moves a region, by its number."""
    return lambda number, address: regions[number](address)
