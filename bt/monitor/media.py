"""Disks and what is in them: `info block`, `eject`, `change`."""

from __future__ import annotations

from bt.errors import BtError
from bt.machine import Machine
from bt.machine.media import Drive
from bt.monitor.command import Command, CommandError, words


def _block(pc: Machine, rest: str) -> str:
    found = []
    for number, drive in enumerate(pc.media.drives):
        if drive.file is None:
            text = f"{drive.name}: [not inserted]\n"
        else:
            only = ", read-only" if drive.read_only or drive.media == "cdrom" else ""
            text = f"{drive.name} (#block{number}): {drive.file} (raw{only})\n"
        text += f"    Attached to:      {drive.place}\n"
        if drive.is_removable:
            changer = pc.media.changer(drive)
            locked, tray = "locked" if changer.is_locked else "not locked", "open" if changer.is_open else "closed"
            text += f"    Removable device: {locked}, tray {tray}\n"
        if drive.file is not None:
            text += f"    Cache mode:       writeback{', in memory' if drive.snapshot else ''}\n"
        found.append(text)
    return "\n".join(found)


def _drive(pc: Machine, name: str) -> Drive:
    for drive in pc.media.drives:
        if drive.name == name:
            return drive
    raise CommandError(f"Error: Device '{name}' not found")


def _eject(pc: Machine, rest: str) -> str:
    given = words(rest, 1, 2, "[-f] device")
    force = given[0] == "-f"
    drive = _drive(pc, given[-1])
    if not drive.is_removable:
        raise CommandError(f"Error: Device '{drive.name}' is not removable")
    try:
        pc.eject(drive.name, force=force)
    except BtError:
        raise CommandError(
            f"Error: Device '{drive.name}' is locked and force was not specified, wait for tray to open and try again"
        ) from None
    return ""


def _change(pc: Machine, rest: str) -> str:
    name, _, file = rest.strip().partition(" ")
    drive = _drive(pc, name)
    if not file.strip():
        raise CommandError("change: a file is wanted")
    try:
        pc.change(drive.name, file.strip())
    except BtError as error:
        raise CommandError(f"Error: {error}") from None
    return ""


COMMANDS = (
    Command(("eject",), "[-f] device", "eject a removable medium (use -f to force it)", _eject),
    Command(("change",), "device filename", "change a removable medium", _change),
)
INFO = (Command(("block",), "", "show info of all block devices", _block),)
