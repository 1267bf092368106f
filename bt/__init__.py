"""bt: a virtual machine monitor that runs unmodified x86 guests by dynamic binary translation.

What people use is here: `from bt import Machine, Pattern`. It is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bt.api.stops import Address as Address
    from bt.api.stops import GuestTime as GuestTime
    from bt.api.stops import Insns as Insns
    from bt.api.stops import Pattern as Pattern
    from bt.devices.device import Device as Device
    from bt.end import End as End
    from bt.errors import BtError as BtError
    from bt.machine.board import Part as Part
    from bt.machine.config import MachineConfig as MachineConfig
    from bt.machine.machine import Machine as Machine
    from bt.machine.media import Drive as Drive
    from bt.machine.result import Result as Result
    from bt.machine.snapshot import Snapshot as Snapshot

_NAMES = {
    "Address": "bt.api.stops",
    "BtError": "bt.errors",
    "Device": "bt.devices.device",
    "Drive": "bt.machine.media",
    "End": "bt.end",
    "GuestTime": "bt.api.stops",
    "Insns": "bt.api.stops",
    "Machine": "bt.machine.machine",
    "MachineConfig": "bt.machine.config",
    "Part": "bt.machine.board",
    "Pattern": "bt.api.stops",
    "Result": "bt.machine.result",
    "Snapshot": "bt.machine.snapshot",
}


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module 'bt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_NAMES]
