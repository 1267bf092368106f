"""SMBIOS: as dmidecode reads it, and as SeaBIOS leaves it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bt.firmware import smbios
from bt.firmware.smbios import ANCHOR_BYTES, Facts, anchor, structures
from bt.machine.firmware import smbios_facts
from tests.firmware.seabios import MIB, booted, needs_seabios

DMIDECODE = shutil.which("dmidecode", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
needs_dmidecode = pytest.mark.skipif(DMIDECODE is None, reason="needs the package dmidecode")
GIB = 1 << 30


def facts(memory: int) -> Facts:
    return Facts(memory, 0x6B1, 0x383_FBFF, "pentium3", "1.2.3")


def decoded(folder: Path, first: bytes, tables: bytes) -> str:
    """What dmidecode makes of an entry point whose tables are said to be at 20h."""
    assert DMIDECODE is not None
    dump = folder / "dump"
    dump.write_bytes(first.ljust(0x20, b"\0") + tables)
    command = [DMIDECODE, "--from-dump", str(dump)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@needs_dmidecode
@pytest.mark.parametrize(
    ("memory", "size", "ranges"),
    [
        (2 * MIB + 4096, "2052 kB", ["0x00000200FFF"]),
        (128 * MIB, "128 MB", ["0x00007FFFFFF"]),
        (63 * GIB, "63 GB", ["0x000DFFFFFFF", "0x00FDFFFFFFF"]),
    ],
)
def test_decoder_reads_what_was_said(tmp_path: Path, memory: int, size: str, ranges: list[str]) -> None:
    tables = structures(facts(memory), with_bios=True)
    text = decoded(tmp_path, anchor(tables, 0x20), tables)
    kinds = [0, 1, 3, 4, 16, 17, *[19] * len(ranges), 32, 127]
    assert [int(line.split("DMI type ")[1].split(",")[0]) for line in text.splitlines() if "DMI type" in line] == kinds
    assert f"SMBIOS 2.8 present.\n{len(kinds)} structures occupying {len(tables)} bytes." in text
    for line in (
        "Vendor: bt", "Version: 1.2.3", "Product Name: Standard PC (i440FX + PIIX, 1996)",
        "ID: B1 06 00 00 FF FB 83 03",
        "Version: pentium3", "Max Speed: 1000 MHz", f"Size: {size}", "Array Handle: 0x1000", "Type: RAM",
        "Number Of Devices: 1", "Status: No errors detected", "System is a virtual machine",
    ):  # fmt: skip
        assert f"\t{line}\n" in text
    assert [line.split()[-1] for line in text.splitlines() if "Ending Address" in line] == ranges
    assert "Wrong" not in text
    assert "OUT OF SPEC" not in text


def test_both_sums_of_the_anchor_are_0() -> None:
    entry = anchor(structures(facts(64 * MIB), with_bios=False), 0xF_1234)
    assert len(entry) == ANCHOR_BYTES
    assert (sum(entry) & 0xFF, sum(entry[0x10:]) & 0xFF) == (0, 0)
    assert entry[0x18:0x1C] == bytes.fromhex("34120f00")


@needs_seabios
@needs_dmidecode
def test_seabios_hands_it_on_and_adds_itself(tmp_path: Path) -> None:
    with booted(tmp_path) as machine:
        low = machine.memory.read(0xF0000, 0x10000)
        at = low.index(b"_SM_")
        first = low[at : at + ANCHOR_BYTES]
        assert sum(first) & 0xFF == 0
        length = int.from_bytes(first[0x16:0x18], "little")
        address = int.from_bytes(first[smbios.TABLE_ADDRESS : smbios.TABLE_ADDRESS + 4], "little")
        tables = machine.memory.read(address, length)
        said = structures(smbios_facts(machine.config), with_bios=False)
    assert said in tables
    assert b"SeaBIOS\0" in tables
