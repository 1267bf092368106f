"""What a guest that is loaded without firmware finds, against what SeaBIOS leaves on the same board."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.function import COMMAND
from bt.firmware.acpi.tables import ACPI_FILE, ROOT, acpi_tables
from bt.firmware.mp_table import configuration_table, floating_pointer
from bt.firmware.pir_table import pir_table
from bt.machine.config import MachineConfig
from bt.machine.firmware import hardware
from bt.machine.machine import Machine
from bt.machine.media import Drive
from tests.firmware.seabios import BOOT_SECTOR, MIB, booted, needs_seabios

PAM = range(0x58, 0x60)


@pytest.fixture
def drives(tmp_path: Path) -> tuple[Drive, ...]:
    """For a board with more PCI functions than it must have."""
    disks = [tmp_path / name for name in ("one", "two")]
    for disk in disks:
        disk.write_bytes(bytes(MIB))
    return tuple(Drive(str(disk), "virtio", snapshot=True) for disk in disks)


@pytest.fixture
def loaded(drives: tuple[Drive, ...], tmp_path: Path) -> Iterator[Machine]:
    """With a guest that has not run yet."""
    disk = tmp_path / "loaded"
    disk.write_bytes(BOOT_SECTOR.ljust(MIB, b"\0"))
    config = MachineConfig(memory=64 * MIB, drives=(Drive(str(disk), index=0, snapshot=True), *drives))
    with Machine(config) as machine:
        machine.load(BOOT_SECTOR, boot_sector=True)
        yield machine


@needs_seabios
def test_pci_configuration_space(loaded: Machine, drives: tuple[Drive, ...], tmp_path: Path) -> None:
    with booted(tmp_path, *drives) as machine:
        theirs = _configuration(machine)
    ours = _configuration(loaded)
    assert ours.keys() == theirs.keys()
    differing = {
        (place, offset)
        for place, space in ours.items()
        for offset in range(256)
        if space[offset] != theirs[place][offset]
    }
    # SeaBIOS protects its own copy below 1 MiB against writing; here is only RAM, which guests may have
    assert {offset for place, offset in differing if place == (0, 0)} <= set(PAM)
    # it has read the virtio disks, and so lets them be masters
    assert {each for each in differing if each[0] != (0, 0)} == {((3, 0), COMMAND), ((4, 0), COMMAND)}


def _configuration(machine: Machine) -> dict[tuple[int, int], bytes]:
    def space(slot: int, function: int) -> bytes:
        words = []
        for offset in range(0, 256, 4):
            machine.ports.write(0xCF8, 4, 1 << 31 | slot << 11 | function << 8 | offset)
            words.append(machine.ports.read(0xCFC, 4).to_bytes(4, "little"))
        return b"".join(words)

    return {place: space(*place) for place in machine.board.part("PCI ports", ConfigPorts).functions}


# Not compared: what counts or answers when read; and, different on purpose:
# 8259s and timer are as after a reset, for nobody here would serve their interrupts
PORTS = (*range(0x10), *range(0xC0, 0xE0), *range(0x81, 0x90), 0x4D0, 0x4D1, 0x61, 0x92, 0x3CC, 0x3C6, 0xCF9)
INDEXED = ((0x3C4, 5), (0x3CE, 9), (0x3D4, 25))
PALETTE_BYTES = 768
CURSOR = (0x0E, 0x0F)  # of the CRTC: behind SeaBIOS's messages


@needs_seabios
def test_ports(loaded: Machine, drives: tuple[Drive, ...], tmp_path: Path) -> None:
    with booted(tmp_path, *drives) as machine:
        theirs = _ports(machine)
    ours = _ports(loaded)
    assert {name: value for name, value in ours.items() if value != theirs[name]} == {}


def _ports(machine: Machine) -> dict[str, int]:
    read, write = machine.ports.read, machine.ports.write
    found = {f"{port:x}": read(port, 1) for port in PORTS}
    for port, count in INDEXED:
        for index in range(count):
            write(port, 1, index)
            if (port, index) not in ((0x3D4, each) for each in CURSOR):
                found[f"{port:x}.{index:x}"] = read(port + 1, 1)
    for index in range(0x15):
        read(0x3DA, 1)
        write(0x3C0, 1, index)
        found[f"3c0.{index:x}"] = read(0x3C1, 1)
    write(0x3C7, 1, 0)
    found |= {f"3c9.{index:x}": read(0x3C9, 1) for index in range(PALETTE_BYTES)}
    return found


def test_tables_are_found_from_their_anchors(loaded: Machine) -> None:
    low = loaded.memory.read(0xF0000, 0x10000)
    found = {anchor: low.index(anchor) for anchor in (b"RSD PTR ", b"_SM_", b"$PIR")}
    assert all(at % 16 == 0 for at in found.values())
    linkable = acpi_tables(hardware(loaded.board))
    rsdt = linkable.placed({ACPI_FILE: 0, ROOT: 0})[ROOT][16:20]
    root = found[b"RSD PTR "]
    at = int.from_bytes(low[root + 16 : root + 20], "little") - int.from_bytes(rsdt, "little")
    for name, data in linkable.placed({ACPI_FILE: at, ROOT: 0xF0000 + root}).items():
        start = at if name == ACPI_FILE else 0xF0000 + root
        assert loaded.memory.read(start, len(data)) == data


@needs_seabios
def test_interrupt_routing_table_is_seabioss(tmp_path: Path) -> None:
    with booted(tmp_path) as machine:
        low = machine.memory.read(0xF0000, 0x10000)
    assert pir_table() in low


@needs_seabios
def test_mp_table_is_seabioss_but_for_names_and_processor(tmp_path: Path) -> None:
    """SeaBIOS makes one even where there are no APICs, and reads its processor's version from nowhere then."""
    with booted(tmp_path) as machine:
        low = machine.memory.read(0xF0000, 0x10000)
    pointer = low.index(b"_MP_")
    at = int.from_bytes(low[pointer + 4 : pointer + 8], "little")
    assert floating_pointer(at) == low[pointer : pointer + 16]
    theirs = low[at - 0xF0000 :]
    theirs = theirs[: int.from_bytes(theirs[4:6], "little")]
    ours = configuration_table(0x6B1, 0x383_FBFF, {(1, 0): 9})
    assert sum(ours) & 0xFF == 0
    names, processor = range(7, 28), range(44, 64)
    differing = {offset for offset in range(len(theirs)) if ours[offset] != theirs[offset]}
    assert len(ours) == len(theirs)
    assert differing <= {*names, *processor}
