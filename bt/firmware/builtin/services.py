"""What a service is, and how one is found: by the interrupt's number and the function in AH."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from bt.firmware.builtin.frame import Frame

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

# What it does to the registers of who calls; a rom.AGAIN or rom.HALT that it returns has it called once more later.
Service = Callable[["Bios", Frame], int | None]

NOT_SUPPORTED = 0x86


class Family(NamedTuple):
    """The services of one interrupt by AH, and what others get."""

    functions: Mapping[int, Service]
    other: Service


def unsupported(bios: Bios, frame: Frame) -> None:
    """AH=86h and CF, as the AT's BIOS answers what it does not know (IBM PC/AT Technical Reference, INT 15h)."""
    bios.note_missing(frame)
    frame.fail(NOT_SUPPORTED)


def nothing(bios: Bios, frame: Frame) -> None:
    """A function that does not exist and whose absence nobody is told of: registers stay as they are."""
    bios.note_missing(frame)


def quietly_unsupported(bios: Bios, frame: Frame) -> None:
    """What systems ask for to find out whether it is there: not here, and that is no news."""
    frame.fail(NOT_SUPPORTED)
