"""What a unit of 64-bit code is written from, and where it goes."""

from __future__ import annotations

from typing import NamedTuple

from bt.engine.identity.long.decoded import LongDecoded


class Step(NamedTuple):
    """One instruction of a unit; `onward`: where the path goes on behind it, None where that is not known."""

    i: LongDecoded
    onward: int | None


class Surroundings(NamedTuple):
    """Host addresses that units jump to, and what is known of the host."""

    way_out: int  # r10: record
    way_to: int  # r10: address
    way_fp: int  # r10: host address, where the unit goes on with FP instructions ready if they can be
    way_neighbours: int  # r10: record, `scratch`: LONG_UNIT
    way_sampled: int  # the same
    looks: tuple[tuple[int, int], tuple[int, int]]  # look_around (reach_code.py), by CPL 3 and write
    to_write: int  # from the address at which code runs to that at which it is written
    unlike: frozenset[str]
