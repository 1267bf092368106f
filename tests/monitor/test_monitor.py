"""The monitor of a machine: while its guest runs in another thread, and while it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bt import Drive, End, Insns, Machine, Result
from bt.devices.storage.ata.atapi_cdrom import MEDIUM_CHANGED, AtapiCdrom
from bt.engine.library.library import Library
from bt.errors import BadUsage
from bt.monitor.monitor import Monitor
from tests.api.guest import CODE, machine

BLOCK = 2048


@pytest.fixture(scope="module")
def library() -> Library:
    from bt.engine.library.library import load_library

    return load_library()


@contextmanager
def running(pc: Machine) -> Iterator[list[Result]]:
    """The guest in another thread; the result is there when the block is over."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(pc.run(timeout=60)))
    thread.start()
    try:
        while not pc.is_running:
            time.sleep(0.001)
        yield results
    finally:
        pc.stop()
        pc.resume()
        thread.join()


def test_every_command_has_its_help(library: Library) -> None:
    with machine(library) as pc:
        monitor = Monitor(pc)
        everything = monitor.execute("help")
        for command in {*monitor.commands.values()}:
            if command.names != ("info",):
                assert monitor.execute(f"help {command.names[-1]}") == f"{command.usage}\n"
            assert command.usage in everything
        assert monitor.execute("info") == monitor.execute("help info")
        for name in monitor.information:
            assert f"info {name} " in monitor.execute("info")
            assert monitor.execute(f"info {name}") or name == "block", name
        assert monitor.execute("   ") == ""
        assert monitor.names("st") == ["stop"]
        assert monitor.names("info st") == ["info stats", "info status"]


def test_while_the_guest_runs(library: Library) -> None:
    with machine(library, "bt", "here: inc eax\n jmp here") as pc:
        monitor = Monitor(pc)
        assert monitor.execute("info status") == "VM status: paused\n"
        with running(pc) as results:
            assert monitor.execute("info status") == "VM status: running\n"
            first = monitor.execute("info registers")
            assert f"EIP={CODE:08x}" in first or f"EIP={CODE + 1:08x}" in first
            assert monitor.execute("info registers") != first
            assert monitor.execute("xp/1xb 0x100000") == "0000000000100000: 0x40\n"
            assert monitor.execute("stop") == ""
            assert monitor.execute("info status") == "VM status: paused\n"
            still = monitor.execute("info registers")
            time.sleep(0.2)
            assert monitor.execute("info registers") == still
            assert monitor.execute("cont") == ""
            assert monitor.execute("info registers") != still
            assert monitor.execute("quit") == ""
            while not results:
                time.sleep(0.01)
        assert results[0].reason is End.INTERRUPTED


def test_a_paused_guest_can_be_quit(library: Library) -> None:
    with machine(library) as pc, running(pc) as results:
        monitor = Monitor(pc)
        monitor.execute("stop")
        monitor.execute("q")
        while not results:
            time.sleep(0.01)


def test_a_reset_begins_again(library: Library) -> None:
    with machine(library, "bt", "mov ecx, 7\n here: jmp here") as pc:
        monitor = Monitor(pc)
        pc.run(max_insns=100)
        assert monitor.execute("p/d $ecx") == "7\n"
        monitor.execute("system_reset")
        assert (monitor.execute("p/x $eip"), monitor.execute("p/d $ecx")) == (f"{CODE:#x}\n", "0\n")
        assert monitor.execute("system_powerdown") == ""


def test_disassembly(library: Library) -> None:
    with machine(library, "bt", "mov ecx, [ebx + 8]\n here: jmp here") as pc:
        assert Monitor(pc).execute("x/2i $eip") == (
            f"0x{CODE:08x}:  8b 4b 08                 mov      ecx, dword ptr [ebx + 8]\n"
            f"0x{CODE + 3:08x}:  eb fe                    jmp      {CODE + 3:#x}\n"
        )
        assert Monitor(pc).execute("xp/1i 0xfed00000") == "0xfed00000: Cannot access memory\n"


def test_keys_mouse_and_screen(library: Library, tmp_path: Path) -> None:
    codes: list[int] = []
    source = "wait: in al, 64h\n test al, 1\n jz wait\n in al, 60h\n out 0e9h, al\n jmp wait"
    with machine(library, "bt", source, console=codes.append) as pc:
        monitor = Monitor(pc)
        pc.ports.write(0x64, 1, 0x60)
        pc.ports.write(0x60, 1, 0x40)
        assert monitor.execute("sendkey ctrl-a 50") == ""
        pc.run(limit=Insns(200_000_000))
        assert codes == [0x1D, 0x1E, 0x9E, 0x9D]
        assert monitor.execute("mouse_move 1 2") == monitor.execute("mouse_button 1") == ""
        assert monitor.execute("mouse_move x 2") == "invalid number 'x'\n"
        assert monitor.execute("mouse_move 2") == "missing arguments: dx dy [dz] wanted\n"
        assert monitor.execute(f"screendump {tmp_path / 'a.ppm'}") == ""
        assert (tmp_path / "a.ppm").read_bytes().startswith(b"P6\n720 400\n255\n")
        assert "No such file" in monitor.execute(f"screendump {tmp_path / 'x' / 'a.ppm'}")


@pytest.fixture
def discs(tmp_path: Path) -> tuple[str, str]:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(name.encode() * BLOCK)
    return str(tmp_path / "one"), str(tmp_path / "two")


def test_discs_are_changed(library: Library, discs: tuple[str, str]) -> None:
    one, two = discs
    with Machine(memory="4M", library=library, drives=[Drive(one, media="cdrom")]) as pc:
        monitor = Monitor(pc)
        drive = pc.media.changer(pc.media.named("ide1-cd0"))
        assert isinstance(drive, AtapiCdrom)
        assert monitor.execute("info block") == (
            f"ide1-cd0 (#block0): {one} (raw, read-only)\n    Attached to:      ide 2\n"
            "    Removable device: not locked, tray closed\n    Cache mode:       writeback\n"
        )
        old = drive.disk
        assert old is not None
        assert monitor.execute(f"change ide1-cd0 {two}") == ""
        assert drive.disk is not None
        assert drive.disk.read(0, 1).data[:6] == b"twotwo"
        assert drive.state()["attention"] == list(MEDIUM_CHANGED), "UNIT ATTENTION is what the guest hears next"
        assert two in monitor.execute("info block")
        assert monitor.execute("eject ide1-cd0") == ""
        assert drive.disk is None
        assert monitor.execute("info block").startswith("ide1-cd0: [not inserted]\n")
        assert monitor.execute(f"change ide1-cd0 {one}x").startswith("Error: ")
        assert monitor.execute(f"change ide1-cd0 {one}") == ""
        assert monitor.execute(f"change ide1-cd0 {one}") == "", "the same once more"


def test_a_locked_disc_stays(library: Library, discs: tuple[str, str]) -> None:
    one, two = discs
    with Machine(memory="4M", library=library, drives=[Drive(one, media="cdrom")]) as pc:
        monitor = Monitor(pc)
        drive = pc.media.changer(pc.media.named("ide1-cd0"))
        assert isinstance(drive, AtapiCdrom)
        drive._prevent_allow(bytes((0x1E, 0, 0, 0, 1)) + bytes(7))
        assert "locked, tray closed" in monitor.execute("info block")
        refused = monitor.execute("eject ide1-cd0")
        assert refused.startswith("Error: Device 'ide1-cd0' is locked and force was not specified")
        assert drive.disk is not None
        with pytest.raises(BadUsage, match="the guest has locked it"):
            pc.change("ide1-cd0", two)
        assert monitor.execute("eject -f ide1-cd0") == ""
        assert drive.disk is None


def test_diskettes_and_disks(library: Library, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1440 << 10))
    (tmp_path / "b").write_bytes(bytes(720 << 10))
    drives = [Drive(str(tmp_path / "a"), interface="floppy"), Drive(str(tmp_path / "b"), index=0)]
    with Machine(memory="4M", library=library, drives=drives) as pc:
        monitor = Monitor(pc)
        drive = pc.media.changer(pc.media.named("floppy0"))
        drive.has_changed = False  # type: ignore[attr-defined]
        pc.change("floppy0", str(tmp_path / "a"))
        assert drive.has_changed, "the disk change line"  # type: ignore[attr-defined]
        assert monitor.execute("eject ide0-hd0") == "Error: Device 'ide0-hd0' is not removable\n"
        with pytest.raises(BadUsage, match="no drive 'x': there are floppy0, ide0-hd0"):
            pc.eject("x")
        with pytest.raises(BadUsage, match="cannot be taken out"):
            pc.eject("ide0-hd0")
    (tmp_path / "a").write_bytes(b"nobody has it open any more")


def test_a_disc_is_changed_while_the_guest_runs(library: Library, discs: tuple[str, str]) -> None:
    one, two = discs
    with Machine(memory="4M", library=library, drives=[Drive(one, media="cdrom")]) as pc:
        pc.load(b"\xeb\xfe", flat=CODE)
        with running(pc):
            pc.change("ide1-cd0", two)
            assert pc.media.named("ide1-cd0").file == two
