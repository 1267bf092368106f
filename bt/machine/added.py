"""Devices that a machine has only if they are asked for, as QEMU's -device does: a row each in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from bt import arguments
from bt.errors import BadUsage
from bt.record import Record

if TYPE_CHECKING:
    from bt.devices.device import Device
    from bt.machine.board import Board

Values = Mapping[str, int]


class Number(NamedTuple):
    """A property: what it is when nobody says, and the most and the least it can be."""

    default: int
    summary: str
    most: int = 0xFFFF
    least: int = 0


class Kind(NamedTuple):
    """A row: names as QEMU has them, `where` as a `Part` has it (bt/machine/board.py), and what makes the device.

    `instead_of`: the part that is there unless such a device is asked for.
    """

    summary: str
    properties: Mapping[str, Number]
    where: Callable[[Values], str]
    make: Callable[[Board, Values], Device]
    instead_of: str | None = None


def _ports(first: int, length: int) -> str:
    return f"{first:X}-{first + length - 1:X}"


def _debug_exit(b: Board, values: Values) -> Device:
    from bt.devices.debug.debug_exit import DebugExit

    return DebugExit(b.out.exit)


def _pvpanic(b: Board, values: Values) -> Device:
    from bt.devices.debug.pvpanic import Pvpanic

    return Pvpanic(b.out.panic, b.out.crash_loaded, understood=values["events"])


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "isa-debug-exit": Kind(
            "a port that ends the run with status (value << 1) | 1",
            {"iobase": Number(0x501, "its first port"), "iosize": Number(2, "how many it has", least=1)},
            lambda values: _ports(values["iobase"], values["iosize"]),
            _debug_exit,
            instead_of="debug exit",
        ),
        "pvpanic": Kind(
            "a port by which the guest's kernel says that it has panicked",
            {"ioport": Number(0x505, "the port"), "events": Number(3, "1: panics, 2: crash kernels, 3: both", most=3)},
            lambda values: _ports(values["ioport"], 1),
            _pvpanic,
        ),
    }
)


class AddedDevice(Record):
    """A device to be added: a name in `KINDS`, and values of its properties other than the defaults.

    BadUsage for what there is not, with the nearest that there is.
    """

    kind: str
    properties: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadUsage(f"no device called {self.kind}{arguments.nearest(self.kind, KINDS)}")
        known = KINDS[self.kind].properties
        for name, value in self.properties:
            if name not in known:
                raise BadUsage(f"{self.kind} has no property {name}{arguments.nearest(name, known)}")
            least, most = known[name].least, known[name].most
            arguments.whole_number(name, value, f"{least} to {most:#x} is wanted", least=least, most=most)

    @property
    def row(self) -> Kind:
        return KINDS[self.kind]

    @property
    def values(self) -> Values:
        """Of all properties."""
        return {name: each.default for name, each in self.row.properties.items()} | dict(self.properties)

    @property
    def where(self) -> str:
        return self.row.where(self.values)


def listing(kind: str | None = None) -> str:
    """For people: the devices there are, or the properties of one."""
    if kind is None:
        return "\n".join(f"{name:<16} {row.summary}" for name, row in KINDS.items())
    properties = AddedDevice(kind).row.properties.items()
    return "\n".join(f"{name:<16} {each.summary} (default {each.default:#x})" for name, each in properties)
