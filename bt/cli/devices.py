"""-device, -global and -debugcon, as QEMU spells them: what a PC has only if it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from bt.cli import drives
from bt.cli.options import HELP, Choice, Parser, pairs
from bt.errors import BadUsage
from bt.machine.added import KINDS, AddedDevice, listing

DEBUG_CONSOLE = "isa-debugcon"  # QEMU's name of what -debugcon adds
SERIAL_PORT = "isa-serial"  # and of what -serial says more of
CONSOLE_PORT, FIRMWARE_LOG_PORT = 0xE9, 0x402  # where a machine has one


class Default(NamedTuple):
    """What -global says of a property."""

    kind: str
    name: str
    value: int


def add_options(parser: Parser) -> None:
    """`chosen_devices` and `debug_console_port` read them."""
    add = parser.add_argument_group("devices, as in QEMU").add_argument
    add("-device", metavar="NAME,PROPERTY=VALUE", dest="devices", action=_AddDevice, default=[],
        help="add a device; -device help lists them, -device NAME,help their properties")  # fmt: skip
    add("-global", metavar="NAME.PROPERTY=VALUE", dest="defaults", action="append", type=parse_default,
        default=[], help="what a property is of devices that do not say")  # fmt: skip
    add("-debugcon", metavar="TO",
        help="what guests write to port 0xe9: stdio, file:PATH or null; with -global isa-debugcon.iobase=0x402 "
        "SeaBIOS's log")  # fmt: skip


class _AddDevice(Choice):
    """Collects devices; `help` instead of a name or of a property shows what there is."""

    def listing(self, text: str) -> str | None:
        name, _, rest = text.partition(",")
        if name in HELP:
            return listing()
        return listing(_parsed(f"-device {text}", name, []).kind) if rest in HELP else None

    def choose(self, given: argparse.Namespace, option: str, text: str) -> None:
        from bt.cli.qemu import without_effect

        name = text.partition(",")[0]
        properties = dict(pairs(text)[1:])
        if name in drives.FRONTENDS:
            given.frontends = [*given.frontends, drives.parse_frontend(text)]
        elif name == DEBUG_CONSOLE:
            given.debugcon = f"chardev:{properties.get('chardev', '')}"
            if "iobase" in properties:
                where = parse_default(f"{DEBUG_CONSOLE}.iobase={properties['iobase']}")
                given.defaults = [*given.defaults, where]
        elif name == SERIAL_PORT and "chardev" in properties:
            given.more_serial = [*given.more_serial, f"chardev:{properties['chardev']}"]
        elif name not in KINDS and (why := without_effect.DEVICES.get(name)) is not None:
            given.notes.append(f"{option}: {why}")
        else:
            setattr(given, self.dest, [*getattr(given, self.dest), parse_device(text)])


def parse_device(text: str) -> AddedDevice:
    """-device's argument. Raises BadUsage for what bt has not."""
    (name, _), *properties = pairs(text)
    # what a device is called decides nothing here
    return _parsed(f"-device {text}", name, [each for each in properties if each[0] != "id"])


def _parsed(option: str, kind: str, properties: Sequence[tuple[str, str]]) -> AddedDevice:
    known = KINDS[kind].properties if kind in KINDS else {}
    try:
        return AddedDevice(kind, tuple((name, _number(value) if name in known else 0) for name, value in properties))
    except BadUsage as error:
        raise BadUsage(f"{option}: {error}") from None


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise BadUsage(f"{text!r} is no number") from None


def parse_default(text: str) -> Default:
    """-global's argument. Raises BadUsage for what bt has not."""
    where, equals, value = text.partition("=")
    kind, dot, name = where.partition(".")
    option = f"-global {text}"
    if not (equals and dot):
        raise BadUsage(f"{option}: NAME.PROPERTY=VALUE is wanted, such as isa-debugcon.iobase=0x402")
    if kind == DEBUG_CONSOLE:
        if name != "iobase" or (port := _number(value)) not in (CONSOLE_PORT, FIRMWARE_LOG_PORT):
            raise BadUsage(f"{option}: there are iobase={CONSOLE_PORT:#x} and iobase={FIRMWARE_LOG_PORT:#x}")
        return Default(kind, name, port)
    (_, number), *_ = _parsed(option, kind, [(name, value)]).properties
    return Default(kind, name, number)


def chosen_devices(given: argparse.Namespace) -> tuple[AddedDevice, ...]:
    """Those of -device, with what -global says."""
    return tuple(
        device.replace(
            properties=(
                *((each.name, each.value) for each in given.defaults if each.kind == device.kind),
                *device.properties,
            ),
        )
        for device in given.devices
    )


def debug_console_port(given: argparse.Namespace) -> int:
    """Where -debugcon's device is."""
    ports = [each.value for each in given.defaults if each.kind == DEBUG_CONSOLE]
    return ports[-1] if ports else CONSOLE_PORT
