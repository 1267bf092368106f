"""Raw images: sizes, what is read-only, errors with advice; QEMU is asked about images that end inside of a sector."""

import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bt.disks.disk import open_disk
from bt.disks.image import SECTOR_BYTES
from bt.disks.overlay import BLOCK_BYTES
from bt.disks.raw import RawImage
from bt.errors import BadUsage


def test_reads_and_writes_whole_sectors(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    content = bytearray(random.Random(1).randbytes(40 * SECTOR_BYTES))
    path.write_bytes(content)
    disk = open_disk(str(path))
    assert disk.sectors == 40
    request = disk.read(3, 5)
    assert request.result() is None
    assert request.data == content[3 * 512 : 8 * 512]
    new = random.Random(2).randbytes(2 * 512)
    assert disk.write(39 - 1, new).result() is None
    disk.close()
    content[38 * 512 :] = new
    assert path.read_bytes() == content


def test_part_of_a_sector_reads_as_zeros_and_grows_when_written(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * 1000)
    disk = open_disk(str(path))
    assert disk.sectors == 2
    last = disk.read(1, 1)
    assert last.result() is None
    assert last.data == b"x" * 488 + bytes(24)
    assert path.stat().st_size == 1000
    assert disk.write(1, b"y" * 512).result() is None
    disk.close()
    assert path.read_bytes() == b"x" * 512 + b"y" * 512


def test_a_file_cut_short_meanwhile_reads_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * 2048)
    disk = open_disk(str(path))
    os.truncate(path, 700)
    request = disk.read(0, 4)
    assert request.result() is None
    assert request.data == b"x" * 700 + bytes(1348)
    disk.close()


def test_requests_outside_are_a_programming_error(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(2048))
    disk = open_disk(str(path))
    for lba, sectors in ((4, 1), (3, 2), (-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="not on this disk"):
            disk.read(lba, sectors)
    with pytest.raises(ValueError, match="whole number"):
        disk.write(0, b"abc")
    disk.close()


def test_read_only_refuses_writes_with_a_value(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1024))
    told: list[str] = []
    disk = open_disk(str(path), read_only=True, on_error=told.append)
    assert disk.read_only
    error = disk.write(0, bytes(512)).result()
    assert error is not None
    assert "Read-only" in str(error)
    disk.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: path.touch(), "empty; give the disk a size"),
        (lambda path: os.mkfifo(path), "neither a file nor a block device"),
    ],
)
def test_what_is_no_image(tmp_path: Path, make: "object", words: str) -> None:
    path = tmp_path / "disk"
    assert callable(make)
    make(path)
    with pytest.raises(BadUsage, match=words) as raised:
        open_disk(str(path))
    assert "\n" not in str(raised.value)
    with pytest.raises(BadUsage):
        open_disk(str(path), read_only=True)


def test_a_null_in_a_name() -> None:
    with pytest.raises(BadUsage, match="no name of a file"):
        open_disk("a\0b")


AS_NOBODY = """
import os, sys
from bt.disks.disk import open_disk
import bt.disks.overlay, bt.disks.raw  # nobody may read what is in this home
from bt.errors import BadUsage
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = sys.argv[1]
try:
    open_disk(path)
except BadUsage as error:
    print(error)
for options in ({"read_only": True}, {"snapshot": True}):
    disk = open_disk(path, **options)
    request = disk.read(0, 1)
    assert request.result() is None and request.data == b"r" * 512
    error = disk.write(0, b"w" * 512).result()
    assert (error is None) == ("snapshot" in options), error
    disk.close()
"""


def test_a_read_only_host_file_wants_readonly_or_snapshot() -> None:
    with TemporaryDirectory() as folder:  # pytest's own directories are for their owner only
        path = Path(folder, "disk")
        path.write_bytes(b"r" * 512)
        path.chmod(0o444)
        Path(folder).chmod(0o755)
        run = subprocess.run([sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        expected = "cannot open the disk image (Permission denied); add readonly=on, or -snapshot"
        assert expected in run.stdout
        assert path.read_bytes() == b"r" * 512


def test_snapshot_never_changes_the_base(tmp_path: Path) -> None:
    """Random writes and reads over an odd-sized base, compared with a copy in memory."""
    path = tmp_path / "disk"
    rng = random.Random(3)
    size = 37 * BLOCK_BYTES + 3 * 512 + 100
    base = rng.randbytes(size)
    path.write_bytes(base)
    disk = open_disk(str(path), snapshot=True)
    model = bytearray(base.ljust(disk.sectors * 512, b"\0"))
    assert not disk.read_only
    for _ in range(400):
        lba = rng.randrange(disk.sectors)
        count = rng.randint(1, min(40, disk.sectors - lba))
        if rng.random() < 0.4:
            data = rng.randbytes(count * 512)
            assert disk.write(lba, data).result() is None
            model[lba * 512 : (lba + count) * 512] = data
        else:
            request = disk.read(lba, count)
            assert request.result() is None
            assert request.data == model[lba * 512 : (lba + count) * 512]
    disk.close()
    assert path.read_bytes() == base
    assert list(tmp_path.iterdir()) == [path]


def test_an_overlay_is_sparse_and_leaves_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    disk = open_disk(str(path), snapshot=True)
    assert list(scratch.iterdir()) == []
    assert disk.write(disk.sectors - 1, b"e" * 512).result() is None
    request = disk.read(disk.sectors - 3, 3)
    assert request.result() is None
    assert request.data == bytes(1024) + b"e" * 512
    assert path.stat().st_blocks == 0
    disk.close()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with pytest.raises(BadUsage, match="set TMPDIR"):
        open_disk(str(path), snapshot=True)
    RawImage(str(path)).close()  # and the lock is gone again
