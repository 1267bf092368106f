"""A machine that our SeaBIOS has started, up to a boot sector that halts: what firmware leaves, for comparison."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bt.end import End
from bt.errors import BadUsage
from bt.firmware import roms
from bt.machine.config import MachineConfig
from bt.machine.machine import Machine
from bt.machine.media import Drive

BOOT_SECTOR = bytes.fromhex("faf4ebfd").ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt
MIB = 1 << 20


def _is_installed() -> bool:
    try:
        roms.read_bios(roms.FIRMWARE["pc"].bios, ())
    except BadUsage:
        return False
    return True


needs_seabios = pytest.mark.skipif(not _is_installed(), reason="needs the package seabios")


@contextmanager
def booted(folder: Path, *drives: Drive) -> Iterator[Machine]:
    disk = folder / "disk"
    disk.write_bytes(BOOT_SECTOR.ljust(MIB, b"\0"))
    first = Drive(str(disk), index=0, snapshot=True)
    with Machine(MachineConfig(memory=64 * MIB, drives=(first, *drives))) as machine:
        machine.boot()
        assert machine.run(timeout=60).reason is End.HALTED
        yield machine
