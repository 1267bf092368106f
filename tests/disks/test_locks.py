"""Who may use an image at the same time: disks of this process, of another bt, and QEMU."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bt.disks.disk import Disk, open_disk
from bt.errors import BadUsage

QEMU = "qemu-system-i386"
needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")

HOLD = """
import sys
from bt.disks.disk import open_disk
disk = open_disk(sys.argv[1], read_only=sys.argv[2] == "reads")
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    return path


def ours(path: Path, use: str) -> Disk:
    return open_disk(str(path), read_only=use == "reads", snapshot=use == "snapshot")


@contextmanager
def other_bt(path: Path, use: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), use], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    try:
        yield process.pid
    finally:
        process.communicate()


def qemu_command(path: Path, use: str) -> list[str]:
    options = {"writes": "", "reads": ",media=cdrom", "snapshot": ",snapshot=on"}[use]
    arguments = "-machine pc -accel tcg -S -m 16 -nodefaults -display none -qtest stdio"
    return [QEMU, *arguments.split(), "-drive", f"if=ide,format=raw,file={path}{options}"]


@contextmanager
def qemu(path: Path, use: str) -> Iterator[int]:
    process = subprocess.Popen(
        qemu_command(path, use), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("inb 0x80\n")
    process.stdin.flush()
    assert "OK" in process.stdout.readline()  # so it has opened its drive
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


COMPATIBLE = {("reads", "reads"), ("reads", "snapshot"), ("snapshot", "reads"), ("snapshot", "snapshot")}
USES = ("reads", "writes", "snapshot")
HOLDERS = [pytest.param(other_bt, id="bt"), pytest.param(qemu, id="qemu", marks=needs_qemu)]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("held", ["reads", "writes"])
@pytest.mark.parametrize("wanted", USES)
def test_who_may_join(image: Path, holder: "object", held: str, wanted: str) -> None:
    assert callable(holder)
    with holder(image, held) as pid:
        if (held, wanted) in COMPATIBLE:
            ours(image, wanted).close()
        else:
            with pytest.raises(BadUsage) as raised:
                ours(image, wanted)
            assert f"(process {pid})" in str(raised.value)
            assert "end that first" in str(raised.value)
    ours(image, wanted).close()  # and it is free again


@needs_qemu
@pytest.mark.parametrize("held", USES)
@pytest.mark.parametrize("wanted", USES)
def test_qemu_sees_our_locks(image: Path, held: str, wanted: str) -> None:
    disk = ours(image, held)
    process = subprocess.Popen(
        qemu_command(image, wanted), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.write("inb 0x80\n")
        process.stdin.flush()
    answer = process.stdout.readline()  # empty if it would not start
    process.kill()
    _, complaint = process.communicate()
    disk.close()
    if (held, wanted) in COMPATIBLE:
        assert "OK" in answer, complaint
    else:
        assert 'write" lock' in complaint


def test_two_disks_of_one_process(image: Path) -> None:
    first = ours(image, "writes")
    with pytest.raises(BadUsage, match=rf"\(process {os.getpid()}\)"):
        ours(image, "writes")
    first.close()
    readers = [ours(image, "reads"), ours(image, "snapshot")]
    with pytest.raises(BadUsage, match="cannot write it"):
        ours(image, "writes")
    for reader in readers:
        reader.close()


def test_hosts_without_locks(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> bytes:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.fcntl", refuse)
    ours(image, "writes").close()
