"""The structures of units of 64-bit code, which generated code and Python share."""

from __future__ import annotations

from bt.codegen.layout import Layout

LONG_UNIT_BYTES = 80
LONG_UNIT = Layout(
    (
        ("record", 64),  # host address of the record that it begins at, whose handler it is
        ("entry", 64),  # host address: where the interpreter comes in
        ("hot", 64),  # and other units
        ("dead_jump", 64),  # the first eight bytes of `hot` once it is dead
        ("inside", 64),  # and where those who have charged for it
        ("dead_inside", 64),  # the same of that
        ("dead", 64),
        ("misses", 64),  # how often neighbours (neighbours.py) were not in one page
        ("counted_from", 64),  # instructions that all units had done when that was 0
        ("samples", 64),  # how often the budget did not do when it was come to
    ),
    LONG_UNIT_BYTES,
)
LONG_UNITS, LONG_MEMBERS = 1 << 15, 1 << 17
LONG_PATH_RECORDS = 32  # heads of blocks on a path that is recorded
# A unit that is left so often, each time within so many instructions of all units, has no neighbours any more.
MOST_MISSES, DEAR_INSNS = 64, 200
IN_LONG_UNIT = 4  # BLOCK.in_units
