"""Options about disks and what boots, as QEMU spells them: -hda, -cdrom, -drive, -boot, -bios, -L, -snapshot."""

from __future__ import annotations

import argparse
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from bt.arguments import nearest
from bt.cli.options import Parser, pairs
from bt.cli.qemu.machine_types import ChooseMachine
from bt.errors import BadUsage
from bt.firmware.cmos import BOOT_LETTERS
from bt.machine.config import MachineConfig
from bt.machine.media import Drive, DriveMedia, Interface
from guest_images import third_party

SHORT: dict[str, Drive] = {
    "-fda": Drive(None, "floppy", index=0),
    "-fdb": Drive(None, "floppy", index=1),
    **{f"-hd{'abcd'[n]}": Drive("", "ide", index=n) for n in range(4)},
    "-cdrom": Drive(None, "ide", "cdrom", index=2),
}
READ_ONLY = ("readonly", "read-only")  # two spellings of one option
EFFECTIVE = ("file", "if", "media", "format", "index", "bus", "unit", "snapshot", *READ_ONLY)
# -drive's options that change nothing here: what is written is the host's to cache, a flush is a flush
WITHOUT_EFFECT = ("cache", "aio", "discard", "detect-zeroes", "werror", "rerror", "id", "serial")
BOOT_WITHOUT_EFFECT = ("splash", "splash-time", "reboot-timeout", "strict")
FRONTEND_WITHOUT_EFFECT = ("id", "bootindex", "serial", "wwn", "model", "ver", "addr", "logical_block_size",
                           "physical_block_size", "disable-legacy", "disable-modern", "scsi", "num-queues")  # fmt: skip
EMPTY_DRIVES = (Drive(None, "floppy"), Drive(None, "ide", "cdrom"))  # what QEMU's PC has, too


class Unattached(NamedTuple):
    """A drive of -drive if=none: `frontend` is the -device that it is to be behind."""

    name: str
    drive: Drive

    def behind(self, frontend: Frontend) -> Drive:
        """The drive there. Raises BadUsage where there is none such."""
        media = frontend.media or self.drive.media
        try:
            return self.drive.replace(interface=frontend.interface, media=media, index=frontend.place)
        except BadUsage as error:
            raise BadUsage(f"{frontend.option}: {error}") from None


class Frontend(NamedTuple):
    """-device ide-hd,drive=NAME and its like."""

    option: str
    drive: str
    interface: Interface
    media: DriveMedia | None
    place: int | None


# what of -device is a drive, with the medium that it is for
FRONTENDS: dict[str, tuple[Interface, DriveMedia | None]] = {
    "ide-hd": ("ide", "disk"),
    "ide-cd": ("ide", "cdrom"),
    "ide-drive": ("ide", None),
    "floppy": ("floppy", "disk"),
    "virtio-blk-pci": ("virtio", "disk"),
    "virtio-blk": ("virtio", "disk"),
}


def add_options(parser: Parser) -> None:
    """`config_options` makes a machine's configuration of them."""
    group = parser.add_argument_group("disks and firmware, as in QEMU")
    add = group.add_argument
    add("-M", "-machine", dest="machine", metavar="TYPE", action=ChooseMachine, default=MachineConfig.machine,
        help="pc (default) or isapc; or help")  # fmt: skip
    parser.set_defaults(drives=[], frontends=[])
    for flag, drive in SHORT.items():
        add(flag, metavar="FILE", dest="drives", action="append", type=partial(_with_file, drive),
            help=_HELP.get(flag, argparse.SUPPRESS))  # fmt: skip
    add("-drive", metavar="file=FILE,...", dest="drives", action="append", type=parse_drive,
        help="with if=ide|floppy|virtio|none, index=, media=disk|cdrom, readonly=on, snapshot=on, format=raw, id= "
        "(of if=none, for -device ide-hd,drive=ID)")  # fmt: skip
    add("-snapshot", action="store_true", help="what guests write is gone at the end")
    add("-boot", metavar="ORDER", default="", help="letters of a c d n in the order to try, or order=,menu=on")
    add("-bios", metavar="FILE", help="firmware, or builtin (default: SeaBIOS, where it is found)")
    add("-L", dest="rom_directories", metavar="DIR", action="append", default=[], help="look for firmware there first")


_HELP = {"-fda": "diskette (also -fdb)", "-hda": "disk (also -hdb, -hdc, -hdd)", "-cdrom": "CD-ROM, an ISO image"}


def _with_file(drive: Drive, file: str) -> Drive:
    return drive.replace(file=file)


def parse_frontend(text: str) -> Frontend:
    """-device's argument, for one of FRONTENDS. Raises BadUsage for what bt has not."""
    (kind, _), *properties = pairs(text)
    interface, media = FRONTENDS[kind]
    given = dict(properties)
    known = ("drive", "bus", "unit", *FRONTEND_WITHOUT_EFFECT)
    for name in given:
        if name not in known:
            raise BadUsage(f"-device {text}: bt does not know {name}{nearest(name, known)}")
    if "drive" not in given:
        raise BadUsage(f"-device {text}: drive=ID is wanted, of a -drive with if=none,id=ID")
    index = None
    bus = re.fullmatch(r"ide\.(\d+)", given.get("bus", ""))
    if interface == "ide" and bus is not None:
        index = 2 * int(bus[1]) + _number(text, given.get("unit", "0"))
    elif interface == "floppy" and "unit" in given:
        index = _number(text, given["unit"])
    return Frontend(f"-device {text}", given["drive"], interface, media, index)


def parse_drive(text: str) -> Drive | Unattached:
    """-drive's argument. Raises BadUsage for what bt has not."""
    given = dict(pairs(text))
    known = (*EFFECTIVE, *WITHOUT_EFFECT)
    for name in given:
        if name not in known:
            raise BadUsage(f"-drive {text}: bt does not know {name}{nearest(name, known)}")
    file = given.pop("file", None)
    interface, media = given.pop("if", "ide"), given.pop("media", "disk")
    is_attached = interface != "none"
    if not is_attached:
        interface = "ide"
    if (form := given.pop("format", "raw")) not in ("raw", "host_device"):
        raise BadUsage(f"-drive {text}: format={form}; bt has raw images, `qemu-img convert -O raw` makes one")
    index = given.pop("index", None)
    bus, unit = given.pop("bus", None), given.pop("unit", None)
    if index is None and (bus is not None or unit is not None):
        index = str(2 * _number(text, bus or "0") + _number(text, unit or "0"))
    is_on = {name: _is_on(text, given, name) for name in ("snapshot", *READ_ONLY)}
    read_only = any(is_on[name] for name in READ_ONLY)
    place = None if index is None else _number(text, index)
    try:
        drive = Drive(file, cast(Interface, interface), cast(DriveMedia, media), place, read_only, is_on["snapshot"])
    except BadUsage as error:
        raise BadUsage(f"-drive {text}: {error}") from None
    if is_attached:
        return drive
    if "id" not in given:
        raise BadUsage(f"-drive {text}: id= is missing, which -device is to name")
    return Unattached(given["id"], drive)


def _number(text: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise BadUsage(f"-drive {text}: {value!r} is no number")
    return int(value)


def _is_on(text: str, given: dict[str, str], name: str) -> bool:
    value = given.pop(name, "off")
    if value not in ("on", "off"):
        raise BadUsage(f"-drive {text}: {name}={value}; on or off is wanted")
    return value == "on"


def parse_boot(text: str) -> tuple[str, bool]:
    """-boot's argument: the order of devices, and whether to show a menu. Raises BadUsage."""
    order, once, menu = MachineConfig.boot_order, None, False
    for name, value in pairs(text) if text else []:
        if name == "order":
            order = value
        elif name == "once":
            once = value
        elif name == "menu":
            menu = value == "on"
        elif name in BOOT_WITHOUT_EFFECT:
            pass
        elif value == "on":  # letters alone
            order = name
        else:
            known = ("order", "once", "menu", *BOOT_WITHOUT_EFFECT)
            raise BadUsage(f"-boot {text}: bt does not know {name}{nearest(name, known)}, or letters of a, c, d, n")
    order = order if once is None else once
    if not set(order) <= BOOT_LETTERS.keys():
        raise BadUsage(f"-boot {text}: letters are a (diskette), c (disk), d (CD-ROM), n (network)")
    rest = "".join(letter for letter in MachineConfig.boot_order if letter not in order)
    return order + rest, menu


def config_options(given: argparse.Namespace, image: Path | None, medium: str | None) -> dict[str, Any]:
    """What they say about a machine, for MachineConfig; `image` is put in as the `medium` it is."""
    drives = [drive.replace(file=_locate(drive.file)) for drive in _attached(given)]
    order, menu = parse_boot(given.boot)
    if image is not None and medium is not None:
        drives.append(
            {
                "cdrom": Drive(str(image), "ide", "cdrom"),
                "floppy": Drive(str(image), "floppy"),
                "disk": Drive(str(image), "ide"),
            }[medium]
        )
    if boots_firmware(image, medium) and not given.no_defaults:
        kinds = {(drive.interface, drive.media) for drive in drives}
        drives += [empty for empty in EMPTY_DRIVES if (empty.interface, empty.media) not in kinds]
    if given.snapshot:
        drives = [drive.replace(snapshot=True) for drive in drives]
    return {
        "machine": given.machine,
        "drives": tuple(drives),
        "bios": given.bios,
        "rom_directories": (*given.rom_directories, str(third_party.directory())),
        "boot_order": order,
        "boot_menu": menu,
    }


def _attached(given: argparse.Namespace) -> list[Drive]:
    """The drives that are behind something; those of if=none that no -device names are not. Raises BadUsage."""
    unattached = {each.name: each for each in given.drives if isinstance(each, Unattached)}
    found = [each for each in given.drives if isinstance(each, Drive)]
    for frontend in given.frontends:
        if frontend.drive not in unattached:
            raise BadUsage(f"{frontend.option}: no -drive with if=none has id={frontend.drive}")
        found.append(unattached[frontend.drive].behind(frontend))
    return found


def boots_firmware(image: Path | None, medium: str | None) -> bool:
    """Whether the machine starts with its firmware, not with a kernel."""
    return image is None or medium is not None


def _locate(file: str | None) -> str | None:
    """A file, or the fetched guest of that name."""
    if file is None or Path(file).exists():
        return file
    fetched = third_party.locate(file)
    return file if fetched is None else str(fetched)
