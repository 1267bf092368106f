"""The ACPI tables: whole, as Intel's compiler reads them, and where SeaBIOS puts them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bt.firmware.acpi.tables import ACPI_FILE, ROOT, Hardware, acpi_tables
from tests.devices.qtest import Qemu, needs_qemu
from tests.firmware.seabios import MIB, booted, needs_seabios

PLACES = {ACPI_FILE: 0x3FF_0000, ROOT: 0xF_6000}
IASL = shutil.which("iasl")
needs_iasl = pytest.mark.skipif(IASL is None, reason="needs the package acpica-tools")


def tables(has_apics: bool = True) -> dict[str, bytes]:
    """All that is reached from the RSDP, by signature."""
    placed = acpi_tables(Hardware(64 * MIB, has_apics)).placed(PLACES)
    rsdp = placed[ROOT]
    assert rsdp[:8] == b"RSD PTR "
    assert sum(rsdp) & 0xFF == 0

    def at(address: int) -> bytes:
        offset = address - PLACES[ACPI_FILE]
        return placed[ACPI_FILE][offset : offset + _u32(placed[ACPI_FILE], offset + 4)]

    found = {"RSDT": at(_u32(rsdp, 16))}
    for entry in range(36, len(found["RSDT"]), 4):
        table = at(_u32(found["RSDT"], entry))
        found[table[:4].decode()] = table
    found["FACS"], found["DSDT"] = (at(_u32(found["FACP"], offset)) for offset in (36, 40))
    return found


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")


def test_every_table_is_whole() -> None:
    found = tables()
    assert set(found) == {"RSDT", "FACP", "FACS", "DSDT", "APIC", "WAET"}
    for signature, table in found.items():
        assert table[:4].decode() == signature
        assert signature == "FACS" or sum(table) & 0xFF == 0


def test_a_board_without_apics_has_no_table_of_them() -> None:
    assert "APIC" not in tables(has_apics=False)


def _qemus_tables() -> bytes:
    """QEMU's own, before firmware has moved anything: the file of its fw_cfg."""
    with Qemu("-M", "pc,hpet=off", "-nodefaults", "-m", "64") as qemu:

        def item(key: int, length: int) -> bytes:
            qemu.port_out(0x510, key, 2)
            return bytes(qemu.inb(0x511) for _ in range(length))

        count = int.from_bytes(item(0x19, 4), "big")
        directory = item(0x19, 4 + 64 * count)[4:]
        for at in range(0, len(directory), 64):
            if directory[at + 8 : at + 64].rstrip(b"\0") == ACPI_FILE.encode():
                length, key = (int.from_bytes(directory[at + x : at + x + n], "big") for x, n in ((0, 4), (4, 2)))
                return item(key, min(length, 0x2000))
    raise AssertionError(f"QEMU has no {ACPI_FILE}")


@needs_qemu
def test_same_hardware_as_qemus_tables_tell() -> None:
    theirs, ours = _qemus_tables(), tables()
    at = theirs.index(b"APIC")
    assert theirs[at + 36 : at + _u32(theirs, at + 4)] == ours["APIC"][36:]
    at = theirs.index(b"WAET")
    assert theirs[at + 36 : at + _u32(theirs, at + 4)] == ours["WAET"][36:]
    at = theirs.index(b"FACP")
    fadt = theirs[at : at + _u32(theirs, at + 4)]
    differing = {offset for offset in range(44, len(fadt)) if fadt[offset] != ours["FACP"][offset]}
    # they leave out the boot architecture (6Dh), and say that there is no reset register (of the flags, 70h);
    # their firmware has not set the PM base yet
    assert differing <= {0x38, 0x39, 0x40, 0x41, 0x4C, 0x4D, 0x6D, 0x71}


def _iasl(folder: Path, *arguments: str) -> str:
    assert IASL is not None
    done = subprocess.run([IASL, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_iasl
@pytest.mark.parametrize("signature", ["FACP", "APIC", "WAET"])
def test_compiler_makes_the_same_bytes_of_data_tables(tmp_path: Path, signature: str) -> None:
    table = tables()[signature]
    (tmp_path / "table.dat").write_bytes(table)
    _iasl(tmp_path, "-d", "table.dat")
    assert "Invalid" not in (tmp_path / "table.dsl").read_text()
    _iasl(tmp_path, "-p", "again", "table.dsl")
    again = (tmp_path / "again.aml").read_bytes()
    assert _without_creator(again) == _without_creator(table)


@needs_iasl
def test_compiler_makes_the_same_bytes_of_the_dsdt(tmp_path: Path) -> None:
    """Disassembled and compiled again; without optimisation, which shortens names."""
    table = tables()["DSDT"]
    (tmp_path / "table.dat").write_bytes(table)
    _iasl(tmp_path, "-d", "table.dat")
    text = (tmp_path / "table.dsl").read_text()
    for line, count in (
        ("CreateDWordField (Arg0, 0x05, PRRI)", 4),
        ("CreateDWordField (PRR0, \\_SB.IQCR._Y00._INT, PRRI)", 1),
        ("Return (IQCR (PRQ2))", 1),
        ("PRQ3 |= 0x80", 1),
        ("OperationRegion (PIRQ, PCI_Config, 0x60, 0x04)", 1),
        ("Processor (CPU0, 0x00, 0x00000000, 0x00)", 1),
        ("DMA (Compatibility, NotBusMaster, Transfer8, )", 1),
    ):
        assert text.count(line) == count, line
    said = _iasl(tmp_path, "-oa", "-p", "again", "table.dsl")
    assert " 0 Errors" in said
    assert _without_creator((tmp_path / "again.aml").read_bytes()) == _without_creator(table)


def _without_creator(table: bytes) -> bytes:
    """The compiler puts its own name there."""
    return table[:9] + table[10:28] + table[36:]


@needs_seabios
def test_seabios_links_them_as_we_do(tmp_path: Path) -> None:
    with booted(tmp_path) as machine:
        low = machine.memory.read(0xF0000, 0x10000)
        root = low.index(b"RSD PTR ")
        expected = acpi_tables(Hardware(64 * MIB, has_apics="I/O APIC" in machine.board.devices))
        offset = _u32(expected.placed({ACPI_FILE: 0, ROOT: 0})[ROOT], 16)
        places = {ACPI_FILE: _u32(low, root + 16) - offset, ROOT: 0xF0000 + root}
        assert places[ACPI_FILE] % 64 == 0
        for name, data in expected.placed(places).items():
            assert machine.memory.read(places[name], len(data)) == data
