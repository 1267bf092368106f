"""docs/devices.md has a row for each device that a board can have."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from bt.machine import Machine, MachineConfig
from bt.machine.added import KINDS, AddedDevice
from bt.machine.config import MachineName
from bt.machine.media import Drive

DOCUMENT = Path(__file__).parents[2] / "docs" / "devices.md"


@pytest.mark.parametrize("machine", get_args(MachineName))
def test_each_device_is_documented(machine: MachineName, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(512))
    drives = [Drive(str(disk), "virtio")] if machine == "pc" else []
    config = MachineConfig(machine=machine, drives=tuple(drives), devices=tuple(AddedDevice(kind) for kind in KINDS))
    with Machine(config) as pc:
        modules = {type(device).__module__ for device in pc.board.devices.values()}
    rows = DOCUMENT.read_text(encoding="utf-8")
    assert [name for name in sorted(modules) if f"{name.replace('.', '/')}.py" not in rows] == []
