"""What a unit of 64-bit code is written from, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
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


class End(NamedTuple):
    """Where a unit leads: to its own head, or to an address, or to a record; else as its last instruction has it."""

    closes: bool = False
    exit: int | None = None
    exit_record: int | None = None


class Draft(NamedTuple):
    """What becomes a unit, and where."""

    steps: Sequence[Step]
    mode: int
    start: int  # host address
    reach_top: int | None  # its reaches lie below; None: it has none, and asks the TLB itself every time
    around: Surroundings
    unit: int  # host address of its LONG_UNIT
    shares: bool = True  # accesses ask for their neighbours, too
