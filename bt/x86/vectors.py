"""Exceptions by number and name (SDM vol. 3A table 6-1)."""

from __future__ import annotations

from enum import IntEnum


class Vector(IntEnum):
    """The vectors that the processor itself uses."""

    DE = 0
    DB = 1
    NMI = 2
    BP = 3
    OF = 4
    BR = 5
    UD = 6
    NM = 7
    DF = 8
    TS = 10
    NP = 11
    SS = 12
    GP = 13
    PF = 14
    MF = 16
    AC = 17
    MC = 18
    XM = 19


def vector_name(vector: int) -> str:
    """As the manual writes it, "#PF"; "INT 40" for the other vectors."""
    if vector == Vector.NMI:
        return "NMI"
    known = vector in Vector.__members__.values()
    return f"#{Vector(vector).name}" if known else f"INT {vector:02X}"
