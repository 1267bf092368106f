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

_HOMES = {
    "bt.api.stops": ("Address", "GuestTime", "Insns", "Pattern"),
    "bt.devices.device": ("Device",),
    "bt.end": ("End",),
    "bt.errors": ("BtError",),
    "bt.machine.board": ("Part",),
    "bt.machine.config": ("MachineConfig",),
    "bt.machine.machine": ("Machine",),
    "bt.machine.media": ("Drive",),
    "bt.machine.result": ("Result",),
    "bt.machine.snapshot": ("Snapshot",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(module), name)
    raise AttributeError(f"module 'bt' has no attribute {name!r}")
