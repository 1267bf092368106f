"""Crash consistency of Debian on bt and on QEMU; the checker of it finds lost flushes, in logs made here too."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bt.disks.disk import Disk
from bt.disks.raw import RawImage
from bt.disks.recording import FLUSH, Recording
from bt.machine import media
from tests.guests.crash import Log, Synced, broken, complaints, read_log
from tests.guests.images import built, fetched
from tests.guests.on_bt import Bt
from tests.guests.on_pty import OnPty
from tests.guests.qemu import PROGRAM, Qemu
from tests.guests.session import Player, Run, Serial, Vm

SECTOR = 512
MIB = 1 << 20
CUTS = 200
KILLS = 20

pytestmark = pytest.mark.skipif(shutil.which("debugfs") is None, reason="needs e2fsprogs")


def empty(path: Path, mib: int) -> bytes:
    path.write_bytes(bytes(mib * MIB))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", path], check=True)
    return path.read_bytes()


def written(path: Path, name: str, content: bytes) -> Log:
    """The writes that put a file onto the disk, a sector each: how it came there does not matter here."""
    before = path.read_bytes()
    source = path.with_name("source")
    source.write_bytes(content)
    subprocess.run(["debugfs", "-w", "-R", f"write {source} {name}", path], check=True, capture_output=True)
    after = path.read_bytes()
    sectors = range(0, len(after), SECTOR)
    return [(at, after[at : at + SECTOR]) for at in sectors if after[at : at + SECTOR] != before[at : at + SECTOR]]


def test_a_lost_flush_is_found(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    before = empty(disk, 4)
    content = bytes(range(256)) * 40
    log = [*written(disk, "first", content), FLUSH]
    synced = [Synced(len(log), "first", hashlib.sha256(content).hexdigest())]
    at_the_end = [*log, *([FLUSH] * 400)]  # nearly all cuts are behind the only flush that matters
    found = list(complaints(before, at_the_end, synced, 8, 1, tmp_path))
    assert [each for each in found if each[0] >= len(log)] == []
    lost = [entry for entry in log if entry is not FLUSH]
    found = list(complaints(before, [*lost, (0, before[:SECTOR])] * 20, synced, 8, 1, tmp_path))
    assert any("first: safe since" in complaint for _, complaint in found)


def test_a_torn_file_system_is_found(tmp_path: Path) -> None:
    """Without a journal around it, half of what makes a file is an error that e2fsck sees."""
    disk = tmp_path / "disk"
    before = empty(disk, 4)
    log = written(disk, "first", bytes(100_000))
    found = [complaint for _, complaint in complaints(before, log, [], 12, 2, tmp_path)]
    assert any(complaint.startswith(("file system", "journal")) for complaint in found)


WORK = """\
mkdir -p /media/d; mount -t ext4 /dev/{device} /media/d; cd /media/d; \
for i in $(seq 1 40); do \
dd if=/dev/urandom of=kept$i bs=1k count=$((i * 3)) conv=fsync 2>/dev/null; echo safe kept$i $(sha256sum <kept$i); \
dd if=/dev/urandom of=noise$((i % 4)) bs=1k count=50 2>/dev/null; rm -f noise$(((i + 2) % 4)); \
cp kept$i new; fsync new; mv new moved$((i % 3)); \
done; cd /; echo done
"""
DEVICES = {"ide": "sda", "virtio": "vda"}  # what the guest calls a disk, by its interface


def direct_boot(directory: Path) -> list[str]:
    """The command line of Debian's kernel and BusyBox, without disks."""
    images = ["-kernel", str(fetched("debian-12-linux")(directory)), "-initrd", str(built("initramfs.gz")(directory))]
    return ["-M", "pc", "-m", "128", *images, "-append", "console=ttyS0 quiet"]


def begin_work(vm: Vm, device: str) -> None:
    Player(vm, Path()).play([Serial("bt# ")])
    vm.send(WORK.format(device=device).encode())


def go_on_working(vm: Vm, synced: dict[bytes, Synced], position: Callable[[], int]) -> None:
    """Let the guest run for a moment. What it says is safe was so when the log had at most `position()` entries."""
    assert vm.status() is None, vm.serial[-500:]
    vm.go_on()
    for name, sha256 in re.findall(rb"safe (kept\d+) ([0-9a-f]{64})", bytes(vm.serial)):
        if name not in synced:
            synced[name] = Synced(position(), name.decode(), sha256.decode())


def work(vm: Vm, device: str, position: Callable[[], int]) -> list[Synced]:
    """All of the work, synced at the end."""
    synced: dict[bytes, Synced] = {}
    begin_work(vm, device)
    while b"\r\ndone\r\n" not in vm.serial:
        go_on_working(vm, synced, position)
    Player(vm, Path()).play([Serial(r"\ndone\nbt# "), Run("sync")])
    assert len(synced) == 40
    return list(synced.values())


def judge(before: bytes, log: Log, synced: list[Synced], scratch: Path) -> None:
    """200 power failures; then the same with the flushes left out of the log, as a disk that lies would have it."""
    assert log.count(FLUSH) > 40
    assert list(complaints(before, log, synced, CUTS, 1, scratch)) == []
    lies = [entry for index, entry in enumerate(log) if entry is not FLUSH or index < len(log) // 10]
    positions = [Synced(min(each.position, len(lies)), each.path, each.sha256) for each in synced]
    assert any("safe since" in complaint for _, complaint in complaints(before, lies, positions, 20, 1, scratch))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed")
def test_debian_on_qemu(tmp_path: Path) -> None:
    disk, log_file = tmp_path / "disk", tmp_path / "log"
    before = empty(disk, 16)
    log_file.write_bytes(b"")
    drive = (
        f"driver=blklogwrites,log-super-update-interval=1,if=none,id=d,file.driver=raw,file.file.driver=file,"
        f"file.file.filename={disk},log.driver=file,log.filename={log_file}"
    )
    vm = Qemu([*direct_boot(tmp_path), "-drive", drive, "-device", "virtio-blk-pci,drive=d"], tmp_path)
    try:
        synced = work(vm, DEVICES["virtio"], lambda: len(read_log(log_file)))
    finally:
        vm.close()
    judge(before, read_log(log_file), synced, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("interface", DEVICES)
def test_debian_on_bt(interface: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    before = empty(disk, 16)
    recordings: list[Recording] = []

    def open_recorded(path: str, *, on_error: Callable[[str], None] | None, **_: bool) -> Disk:
        recordings.append(Recording(RawImage(path)))
        return Disk(recordings[-1], on_error)

    monkeypatch.setattr(media, "open_disk", open_recorded)
    vm = Bt([*direct_boot(tmp_path), "-drive", f"file={disk},format=raw,if={interface}"])
    try:
        synced = work(vm, DEVICES[interface], lambda: len(recordings[0].log))
    finally:
        vm.close()
    judge(before, recordings[0].log, synced, tmp_path)


@pytest.mark.slow
def test_bt_killed(tmp_path: Path) -> None:
    """`kill -9` at some moment of the work: what the guest was told was safe the host's kernel has."""
    disk = tmp_path / "disk"
    chance = random.Random(1)
    safe = 0
    for interface in [*DEVICES] * (KILLS // len(DEVICES)):
        empty(disk, 16)
        vm = OnPty([*direct_boot(tmp_path), "-drive", f"file={disk},format=raw,if={interface}"])
        synced: dict[bytes, Synced] = {}
        try:
            begin_work(vm, DEVICES[interface])
            while not synced:
                go_on_working(vm, synced, int)
            last = time.monotonic() + chance.uniform(0, 2)
            while time.monotonic() < last:
                go_on_working(vm, synced, int)
            vm.kill()
        finally:
            vm.close()
        assert list(broken(disk.read_bytes(), list(synced.values()), tmp_path)) == []
        safe += len(synced)
    assert safe > 2 * KILLS  # most of them came in the middle of the work
