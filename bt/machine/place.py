"""Places: addresses at which the guest wants something to answer, and may want it elsewhere later."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bt.memory.bus import BusConflict
from bt.memory.map import MapConflict

Place = Callable[[int | None], None]
"""Has something answer at an address from now on, or nowhere."""


def place(put: Callable[[int], Callable[[], None]]) -> Place:
    """`put(address)` has it answer there, and returns what takes it away again.

    Where the guest wants it where something else is already, that stays, and it is nowhere.
    """
    take_away: Callable[[], None] | None = None

    def move(address: int | None) -> None:
        nonlocal take_away
        if take_away is not None:
            take_away()
            take_away = None
        if address is not None:
            try:
                take_away = put(address)
            except (BusConflict, MapConflict):
                take_away = None

    return move


def places(regions: Mapping[int, Place]) -> Callable[[int, int | None], None]:
    """What a PCI function calls when it moves a region, by its number."""
    return lambda number, address: regions[number](address)
