"""The checker of crash consistency finds lost flushes: in logs made here, and in one of Debian on QEMU."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bt.disks.recording import FLUSH
from tests.guests.crash import Log, Synced, complaints, read_log
from tests.guests.images import built, fetched
from tests.guests.qemu import PROGRAM, Qemu
from tests.guests.session import Player, Run, Serial

SECTOR = 512
MIB = 1 << 20
CUTS = 200

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
mkdir -p /media/d; mount -t ext4 /dev/vda /media/d; cd /media/d; \
for i in $(seq 1 40); do \
dd if=/dev/urandom of=kept$i bs=1k count=$((i * 3)) conv=fsync 2>/dev/null; echo safe kept$i $(sha256sum <kept$i); \
dd if=/dev/urandom of=noise$((i % 4)) bs=1k count=50 2>/dev/null; rm -f noise$(((i + 2) % 4)); \
cp kept$i new; fsync new; mv new moved$((i % 3)); \
done; cd /; echo done"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed")
def test_debian_on_qemu(tmp_path: Path) -> None:
    """200 power failures; then the same with the flushes left out of the log, as a disk that lies would have it."""
    disk, log_file = tmp_path / "disk", tmp_path / "log"
    before = empty(disk, 16)
    log_file.write_bytes(b"")
    drive = (
        f"driver=blklogwrites,log-super-update-interval=1,if=none,id=d,file.driver=raw,file.file.driver=file,"
        f"file.file.filename={disk},log.driver=file,log.filename={log_file}"
    )
    arguments = ["-M", "pc", "-m", "128", "-kernel", str(fetched("debian-12-linux")(tmp_path))]
    arguments += ["-initrd", str(built("initramfs.gz")(tmp_path)), "-append", "console=ttyS0 quiet"]
    vm = Qemu([*arguments, "-drive", drive, "-device", "virtio-blk-pci,drive=d"], tmp_path)
    synced: dict[str, Synced] = {}
    try:
        player = Player(vm, tmp_path)
        player.play([Serial("bt# ")])
        vm.send(WORK.encode() + b"\n")
        while b"\r\ndone\r\n" not in vm.serial:
            assert vm.status() is None, vm.serial[-500:]
            vm.go_on()
            for name, sha256 in re.findall(rb"safe (kept\d+) ([0-9a-f]{64})", bytes(vm.serial)):
                synced.setdefault(name, Synced(len(read_log(log_file)), name.decode(), sha256.decode()))
        player.play([Run("sync")])
    finally:
        vm.close()
    log = read_log(log_file)
    assert len(synced) == 40
    assert log.count(FLUSH) > 40
    assert list(complaints(before, log, list(synced.values()), CUTS, 1, tmp_path)) == []
    lies = [entry for index, entry in enumerate(log) if entry is not FLUSH or index < len(log) // 10]
    positions = [Synced(min(each.position, len(lies)), each.path, each.sha256) for each in synced.values()]
    assert any("safe since" in complaint for _, complaint in complaints(before, lies, positions, 20, 1, tmp_path))
