"""What a guest that is loaded without firmware finds, against what SeaBIOS leaves on the same board."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bt.devices.display import render
from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.function import COMMAND
from bt.end import End
from bt.firmware.acpi.tables import ACPI_FILE, ROOT, acpi_tables
from bt.firmware.mp_table import configuration_table, floating_pointer
from bt.firmware.pir_table import pir_table
from bt.machine.config import MachineConfig, MachineName
from bt.machine.firmware import hardware
from bt.machine.machine import Machine
from bt.machine.media import Drive
from guest_images.assembler import assemble
from tests.boot.images import bzimage
from tests.firmware.seabios import BOOT_SECTOR, MIB, booted, needs_seabios

PAM = range(0x58, 0x60)
ENDLESS = b"\xeb\xfe"
CURSOR = "it is behind SeaBIOS's messages"
COUNTS = "counts"
PIT_OUT = 1 << 7


@pytest.fixture
def drives(tmp_path: Path) -> tuple[Drive, ...]:
    """For a board with more PCI functions than it must have."""
    disks = [tmp_path / name for name in ("one", "two")]
    for disk in disks:
        disk.write_bytes(bytes(MIB))
    return tuple(Drive(str(disk), "virtio", snapshot=True) for disk in disks)


@pytest.fixture
def loaded(drives: tuple[Drive, ...], tmp_path: Path) -> Iterator[Machine]:
    """With a guest that has run for a moment: a timer's count is taken up by its next tick."""
    disk = tmp_path / "loaded"
    disk.write_bytes(BOOT_SECTOR.ljust(MIB, b"\0"))
    with _loaded(MachineConfig(memory=64 * MIB, drives=(Drive(str(disk), index=0, snapshot=True), *drives))) as machine:
        yield machine


@contextmanager
def _loaded(config: MachineConfig) -> Iterator[Machine]:
    with Machine(config) as machine:
        machine.load(ENDLESS, flat=0x10_0000)
        machine.run(max_insns=10_000)
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


PORTS = (
    *range(0x10), *range(0xC0, 0xE0), *range(0x81, 0x90), 0x21, 0xA1, 0x4D0, 0x4D1, 0x61, 0x64, 0x92, 0x3CC, 0x3C6,
    0xCF9, 0x3F2, 0x3F4, *range(0x2F9, 0x300), *range(0x3F9, 0x400), 0x1F7, 0x376,
)  # fmt: skip
INDEXED = {0x3C4: 5, 0x3CE: 9, 0x3D4: 25, 0x70: 128}  # with how many registers behind the port that follows
PALETTE_BYTES = 768
PIT_COMMANDS = {0x40: 0xE2, 0x41: 0xE4, 0x42: 0xE8}  # which have a counter's status read
PIC_REGISTERS = {"IRR": 0x0A, "ISR": 0x0B}
LOCAL_APIC_REGISTERS = range(0x20, 0x400, 0x10)
# What is different on purpose, and why.
DIFFERENCES = {
    "3d4.e": CURSOR, "3d4.f": CURSOR,
    "3fb": "characters of eight bits, for guests that do not say what they want", "2fb": "the same",
    "70.c": "the periodic interrupt's flag, set while SeaBIOS took its time",
    "61": "the refresh bit and the speaker's input change all the time",
    "42 status": "SeaBIOS measures the processor by this counter where there is no PM timer",
    "fee00300": "nobody was sent a start-up message", "fee00390": COUNTS,
}  # fmt: skip


@needs_seabios
@pytest.mark.parametrize("kind", ["pc", "isapc"])
def test_ports_and_the_data_area(kind: MachineName, tmp_path: Path) -> None:
    disk, floppy = tmp_path / "disk", tmp_path / "floppy"
    disk.write_bytes(BOOT_SECTOR.ljust(MIB, b"\0"))
    floppy.write_bytes(bytes(1440 << 10))
    places = (Drive(str(disk), index=0, snapshot=True), Drive(str(disk), index=1, snapshot=True))
    config = MachineConfig(
        memory=64 * MIB,
        machine=kind,
        drives=(*places, Drive(str(floppy), "floppy"), Drive(None, "floppy"), Drive(None, "ide", "cdrom")),
    )
    with Machine(config) as machine:
        machine.boot()
        assert machine.run(timeout=60).reason is End.HALTED
        theirs, their_area = _ports(machine), _data_area(machine)
    with _loaded(config) as machine:
        ours, our_area = _ports(machine), _data_area(machine)
    differing_ports = {name for name, value in ours.items() if value != theirs[name]}
    assert differing_ports <= DIFFERENCES.keys()
    differing = {0x400 + n for n in range(len(our_area)) if our_area[n] != their_area[n]}
    assert differing <= AREA_DIFFERENCES.keys()


# SeaBIOS's own, in the part of the area that is a video BIOS's
VIDEO_BIOS = "pointers and numbers of its VGA BIOS, whose ROM is not there"
AREA_DIFFERENCES = {
    0x450: CURSOR, 0x451: CURSOR, 0x46C: "what its start took", 0x46D: "what its start took",
    **dict.fromkeys((0x4A8, 0x4A9, 0x4AB, 0x4B9, 0x4BA, 0x4BC, 0x4BD), VIDEO_BIOS),
}  # fmt: skip


def _data_area(machine: Machine) -> bytes:
    return machine.memory.read(0x400, 0x100)


def _ports(machine: Machine) -> dict[str, int]:
    read, write = machine.ports.read, machine.ports.write
    found = {f"{port:x}": read(port, 1) for port in PORTS}
    for port, count in INDEXED.items():
        for index in range(count):
            write(port, 1, index)
            found[f"{port:x}.{index:x}"] = read(port + 1, 1)
    for port, command in PIT_COMMANDS.items():
        write(0x43, 1, command)
        found[f"{port:x} status"] = read(port, 1) & ~PIT_OUT
    for port in (0x20, 0xA0):
        for name, command in PIC_REGISTERS.items():
            write(port, 1, command)
            found[f"{port:x} {name}"] = read(port, 1)
    write(0x64, 1, 0x20)
    found["command byte of 64"] = read(0x60, 1)
    for index in range(0x15):
        read(0x3DA, 1)
        write(0x3C0, 1, index)
        found[f"3c0.{index:x}"] = read(0x3C1, 1)
    write(0x3C7, 1, 0)
    found |= {f"3c9.{index:x}": read(0x3C9, 1) for index in range(PALETTE_BYTES)}
    if machine.board.local_apic is not None:
        found |= {f"fee00{at:03x}": machine.mmio.read(0xFEE0_0000 + at, 4) for at in LOCAL_APIC_REGISTERS}
    return found


def test_the_screen_is_empty_and_has_a_font(loaded: Machine) -> None:
    shown = render.text(loaded.board.vga)
    assert shown is not None
    assert [bytes(characters).strip() for characters, _ in shown.rows] == [b""] * 25
    assert {bytes(attributes) for _, attributes in shown.rows} == {b"\x07" * 80}
    loaded.memory.write(0xB8000, b"A\x07")
    image = render.image(loaded.board.vga)
    assert (image.width, image.height) == (720, 400)
    lit = [n for n in range(16) if any(image.rgb[3 * 720 * n : 3 * (720 * n + 9)])]
    assert len(lit) > 8, "dots of a letter"


def test_linux_is_told_of_the_screen() -> None:
    page = bytes(MIB)
    with Machine(MachineConfig(memory=16 * MIB)) as machine:
        machine.load(bzimage(b"\xeb\xfe".ljust(512)))
        page = machine.memory.read(0x1_0000, 0x20)
    # Documentation/arch/x86/zero-page.rst: mode, columns; lines, VGA; dots of a character
    assert (page[6], page[7], page[0xE], page[0xF], page[0x10]) == (3, 80, 25, 1, 16)


def test_real_mode_can_go_to_the_reset_vector() -> None:
    with Machine(MachineConfig(memory=16 * MIB, no_reboot=True)) as machine:
        machine.load(assemble("jmp 0xffff:0", 16, 0x7C00).ljust(510, b"\0") + b"\x55\xaa", boot_sector=True)
        assert machine.run(max_insns=100).reason is End.RESET


def test_a_guest_that_resets_finds_it_all_again() -> None:
    """What a reset leaves is what it is at power-on; then comes what firmware would have done."""
    with Machine(MachineConfig(memory=16 * MIB)) as machine:
        machine.load(ENDLESS, flat=0x10_0000)
        machine.run(max_insns=10_000)
        before = _ports(machine), _data_area(machine)
        for port, value in ((0x20, 0x11), (0x21, 0x40), (0x21, 4), (0x21, 1), (0x21, 0x5A), (0x43, 0x30), (0x40, 9),
                            (0x40, 9), (0x64, 0x60), (0x60, 0), (0x3C2, 0)):  # fmt: skip
            machine.ports.write(port, 1, value)
        machine.memory.write(0x400, bytes(0x100))
        machine.reset()
        machine.run(max_insns=10_000)
        after = _ports(machine), _data_area(machine)
    assert after[1] == before[1]
    assert {name for name, value in after[0].items() if value != before[0][name]} <= {"61", "fee00390"}


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
