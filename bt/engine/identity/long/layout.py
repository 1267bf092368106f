"""The structures of units of 64-bit code, which generated code and Python share."""

from __future__ import annotations

from bt.codegen.layout import Layout

LONG_UNIT_BYTES = 40
LONG_UNIT = Layout(
    (
        ("record", 64),  # host address of the record that it begins at, whose handler it is
        ("entry", 64),  # host address: where the interpreter comes in
        ("hot", 64),  # and other units
        ("dead_jump", 64),  # the first eight bytes of `hot` once it is dead
        ("dead", 64),
    ),
    LONG_UNIT_BYTES,
)
LONG_UNITS, LONG_MEMBERS = 1 << 15, 1 << 17
LONG_PATH_RECORDS = 32  # heads of blocks on a path that is recorded
IN_LONG_UNIT = 4  # BLOCK.in_units
