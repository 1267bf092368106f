"""Options about disks and what boots, as QEMU spells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bt.cli import run
from bt.cli.drives import config_options, parse_boot, parse_drive
from bt.cli.qemu.machine_types import parse_machine
from bt.errors import BadUsage
from bt.machine.config import MachineConfig
from bt.machine.media import Drive, with_places
from tests.cli.conftest import Bt


@pytest.mark.parametrize(
    ("text", "drive"),
    [
        ("file=a.img", Drive("a.img")),
        ("file=a.img,format=raw,media=disk,index=1", Drive("a.img", index=1)),
        ("file=a,,b.img,if=virtio", Drive("a,b.img", "virtio")),
        ("file=a.img,if=floppy,readonly=on", Drive("a.img", "floppy", read_only=True)),
        ("file=a.img,read-only=on", Drive("a.img", read_only=True)),
        ("file=a.img,read-only=off,readonly=on", Drive("a.img", read_only=True)),
        ("file=a.img,readonly=off", Drive("a.img")),
        ("file=a.img,readonly", Drive("a.img", read_only=True)),
        ("file=a.iso,media=cdrom,bus=1,unit=1", Drive("a.iso", "ide", "cdrom", index=3)),
        ("file=a.img,snapshot=on,cache=none,aio=threads,id=x", Drive("a.img", snapshot=True)),
        ("media=cdrom,if=ide", Drive(None, "ide", "cdrom")),
    ],
)
def test_a_drive(text: str, drive: Drive) -> None:
    assert parse_drive(text) == drive


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("if=ide", "a disk drive needs its image"),
        ("file=a,if=scsi", "if=scsi|interface"),
        ("file=a,format=qcow2", "qemu-img convert -O raw"),
        ("file=a,index=4", "0 to 3 is wanted"),
        ("file=a,index=x", "no number"),
        ("file=a,if=virtio,media=cdrom", "a CD-ROM drive is on ide"),
        ("file=a,wings=2", "does not know wings; there are file, if"),
        ("file=a,red-only=on", "does not know red-only; read-only is nearest"),
        ("file=a,read-only=yes", "read-only=yes; on or off"),
        ("file=a,readonly=maybe", "on or off"),
    ],
)
def test_what_is_no_drive(text: str, said: str) -> None:
    with pytest.raises(BadUsage, match=said):
        parse_drive(text)


@pytest.mark.parametrize(
    ("text", "order", "menu"),
    [
        ("", "cad", False),
        ("order=dc,menu=off,strict=on", "dca", False),
        ("strict=off,d", "dca", False),
        ("once=d,order=c", "dca", False),
        ("order=c,once=d,splash-time=5,reboot-timeout=-1", "dca", False),
        ("d", "dca", False),
        ("order=ac", "acd", False),
        ("menu=on", "cad", True),
        ("dc", "dca", False),
    ],
)
def test_the_order_to_boot_in(text: str, order: str, menu: bool) -> None:
    assert parse_boot(text) == (order, menu)


def test_names_of_machines() -> None:
    assert [parse_machine(name) for name in ("pc", "isapc", "pc-i440fx-7.2,accel=tcg")] == ["pc", "isapc", "pc"]
    with pytest.raises(BadUsage, match="there are pc, isapc"):
        parse_machine("virt")


def test_virtio_without_pci() -> None:
    with pytest.raises(BadUsage, match=r"^a\.img: a virtio disk needs PCI, which isapc has not"):
        MachineConfig(machine="isapc", drives=(Drive("a.img", "virtio"),))


def test_places() -> None:
    cd, first, second = Drive("cd", "ide", "cdrom"), Drive("0"), Drive("1", index=0)
    assert [drive.index for drive in with_places([cd, first, second])] == [0, 1, 2]
    with pytest.raises(BadUsage, match="ide 0 has 1 already"):
        with_places([second, Drive("2", index=0)])
    with pytest.raises(BadUsage, match="all 2 places of floppy are taken"):
        with_places([Drive(None, "floppy")] * 3)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("-hdb x", (Drive("x", index=1), Drive(None, "floppy"), Drive(None, "ide", "cdrom"))),
        ("-fda x -cdrom y", (Drive("x", "floppy", index=0), Drive("y", "ide", "cdrom", index=2))),
        ("-snapshot -hda x -cdrom y -fda z", (
            Drive("x", index=0, snapshot=True),
            Drive("y", "ide", "cdrom", index=2, snapshot=True),
            Drive("z", "floppy", index=0, snapshot=True),
        )),
    ],
)  # fmt: skip
def test_what_is_given_and_what_a_pc_has_besides(arguments: str, wanted: tuple[Drive, ...]) -> None:
    given = run.parser().parse_args(arguments.split())
    assert config_options(given, None, None)["drives"] == wanted


def test_a_file_that_is_not_there_is_one_line(bt: Bt, tmp_path: Path) -> None:
    done = bt("run", "-hda", str(tmp_path / "none.img"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "none.img" in done.stderr


def test_no_firmware_is_one_line(bt: Bt, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    done = bt("run", "-hda", str(disk), "-bios", "no-such-bios.bin")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bt: no-such-bios.bin: no such firmware in ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("length", [0, 1000, 17 << 20])
def test_what_is_no_firmware_is_one_line(bt: Bt, tmp_path: Path, length: int) -> None:
    bios = tmp_path / "bios"
    bios.write_bytes(bytes(length))
    done = bt("run", "-bios", str(bios))
    assert (done.returncode, done.stdout) == (2, "")
    assert "are no BIOS" in done.stderr
