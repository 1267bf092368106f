"""Requests: their order, who does them, what errors become, and what a flush is."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bt.disks.disk import Disk, open_disk
from bt.disks.image import SECTOR_BYTES
from bt.disks.latency import REQUEST_NS, SECTOR_NS, transfer_ns
from bt.disks.recording import FLUSH, Recording, after_power_failure
from bt.errors import Closed
from tests.disks.memory_image import MemoryImage


def sector(value: int) -> bytes:
    return bytes([value]) * SECTOR_BYTES


def test_the_host_works_while_the_guest_runs() -> None:
    image = MemoryImage()
    disk = Disk(image)
    done = threading.Event()
    request = disk.write(0, sector(1), on_done=done.set)
    assert done.wait(10)
    assert request.is_done
    assert image.threads.isdisjoint({threading.get_ident()})
    assert request.result() is None
    disk.close()


def test_requests_are_done_in_order() -> None:
    image = MemoryImage()
    disk = Disk(image)
    image.gate.clear()
    writes = [disk.write(5, sector(value)) for value in range(1, 9)]
    read = disk.read(5, 1)
    after = disk.write(5, sector(99))
    assert not any(write.is_done for write in writes)
    image.gate.set()
    assert read.result() is None
    assert read.data == sector(8)
    assert all(write.is_done for write in writes)
    assert after.result() is None
    disk.close()


def test_waiting_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The VMM is not stuck if the thread is slow or cannot be: it does the work itself."""
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    image = MemoryImage()
    disk = Disk(image)
    disk.write(1, sector(7))
    read = disk.read(1, 1)
    assert read.result() is None
    assert read.data == sector(7)
    assert image.threads == {threading.get_ident()}
    disk.close()


class Cached(MemoryImage):
    """One that the host has in memory."""

    def read_cached(self, offset: int, n: int) -> bytes | None:
        return bytes(self.bytes[offset : offset + n])


def test_what_the_host_has_in_memory_is_read_at_once_but_never_before_a_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = Cached()
    disk = Disk(image)
    read = disk.read(1, 1)
    assert read.is_done
    assert read.data == sector(0)
    image.gate.clear()
    write = disk.write(1, sector(3))
    read = disk.read(1, 1)
    assert not read.is_done
    image.gate.set()
    assert read.result() is None
    assert write.is_done
    assert read.data == sector(3)
    monkeypatch.setattr(threading.Thread, "start", lambda self: None)
    disk = Disk(image)
    disk.write(1, sector(4))
    read = disk.read(1, 1)
    assert read.result() is None
    assert read.data == sector(4)
    disk.close()


def test_what_is_no_error_of_the_host_reaches_who_waits() -> None:
    class Mistaken(MemoryImage):
        def flush(self) -> None:
            raise ZeroDivisionError

    disk = Disk(Mistaken())
    request = disk.flush()
    with pytest.raises(ZeroDivisionError):
        request.result()
    disk.close()


def test_a_raw_image_in_the_hosts_memory(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    content = random.Random(1).randbytes(1000)
    path.write_bytes(content)
    for snapshot in (False, True):
        disk = open_disk(str(path), snapshot=snapshot)
        for lba in (0, 1):
            request = disk.read(lba, 1)
            assert request.result() is None
            assert request.data == content[512 * lba : 512 * lba + 512].ljust(512, b"\0")
        disk.close()


def test_close_does_what_was_asked_for() -> None:
    image = MemoryImage()
    disk = Disk(image)
    for lba in range(20):
        disk.write(lba, sector(lba + 1))
    disk.close()
    disk.close()
    assert image.is_closed
    assert image.bytes[: 20 * 512] == b"".join(sector(lba + 1) for lba in range(20))
    with pytest.raises(Closed):
        disk.read(0, 1)


def test_a_disk_that_is_dropped_is_closed() -> None:
    image = MemoryImage()
    disk = Disk(image)
    assert disk.write(0, sector(1)).result() is None
    del disk
    assert image.is_closed


def test_errors_are_values_and_told_once() -> None:
    image = MemoryImage()
    told: list[str] = []
    disk = Disk(image, told.append)
    image.broken = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for lba in (3, 4, 5):
        error = disk.write(lba, sector(1)).result()
        assert error is not None
        assert error.errno == errno.ENOSPC
    assert len(told) == 1
    assert told[0].startswith("memory: write at sector 3 failed (No space left on device)")
    image.broken = OSError(errno.EIO, os.strerror(errno.EIO))
    assert disk.flush().result() is not None
    assert len(told) == 2
    image.broken = None
    assert disk.write(3, sector(1)).result() is None
    disk.close()


def test_a_host_without_room(tmp_path: Path) -> None:
    """A file that may not grow stands for a full host: both make pwrite fail after some of the data."""
    path = tmp_path / "disk"
    path.write_bytes(bytes(1000))  # the last sector is not all there
    told: list[str] = []
    disk = open_disk(str(path), on_error=told.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        error = disk.write(1, sector(1)).result()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error is not None
    assert error.errno == errno.EFBIG
    assert len(told) == 1
    assert disk.write(0, sector(2)).result() is None
    disk.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_overlay(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(sector(1) * 8)
    disk = open_disk(str(path), snapshot=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))
    try:
        error = disk.write(0, sector(2) * 8).result()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error is not None
    read = disk.read(0, 8)
    assert read.result() is None
    assert read.data == sector(1) * 8  # what failed is not half there
    disk.close()


def test_a_flush_is_one_fdatasync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    disk = open_disk(str(path))
    disk.write(0, sector(1))
    assert disk.flush().result() is None
    assert len(synced) == 1
    for _ in range(3):
        assert disk.flush().result() is None
    assert len(synced) == 4
    disk.close()
    assert len(synced) == 4


FLUSHES = """
import sys
from bt.disks.disk import open_disk
disk = open_disk(sys.argv[1])
for n in range(5):
    disk.write(n, bytes(512))
    assert disk.flush().result() is None
disk.close()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_strace_sees_the_flushes(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    log = tmp_path / "log"
    command = ["strace", "-f", "-o", str(log), "-e", "trace=fdatasync,fsync,pwrite64,sync_file_range,msync"]
    run = subprocess.run([*command, sys.executable, "-c", FLUSHES, str(path)], capture_output=True, text=True)
    if "Operation not permitted" in run.stderr:
        pytest.skip("strace may not trace here")
    assert run.returncode == 0, run.stderr
    calls = [line.split(None, 1)[1].split("(")[0] for line in log.read_text().splitlines() if "(" in line]
    calls = [name for name in calls if name in ("fdatasync", "fsync", "pwrite64")]
    assert calls == ["pwrite64", "fdatasync"] * 5


def test_the_latency_formula() -> None:
    assert transfer_ns(1) == REQUEST_NS + SECTOR_NS
    assert transfer_ns(256) - transfer_ns(255) == SECTOR_NS


def test_a_recording_has_writes_and_flushes_in_order() -> None:
    image = MemoryImage()
    recording = Recording(image)
    disk = Disk(recording)
    disk.write(2, sector(1) * 2)
    disk.flush()
    disk.write(9, sector(2))
    assert disk.read(0, 4).result() is None
    image.broken = OSError(errno.EIO, "x")
    assert disk.flush().result() is not None  # one that failed is none
    disk.close()
    assert recording.log == [(1024, sector(1) * 2), FLUSH, (9 * 512, sector(2))]


def test_after_a_power_failure_what_was_flushed_is_there() -> None:
    log = [(0, sector(1) * 4), FLUSH, (0, sector(2) * 4), (2048, sector(3) * 4), FLUSH, (0, sector(4))]
    seen = set()
    for seed in range(200):
        for cut in range(len(log) + 1):
            image = bytearray(4096)
            after_power_failure(log, cut, random.Random(seed), image)
            if cut in (2, 3, 4):
                assert all(image[at] in (1, 2) for at in range(0, 2048, 512))
            if cut >= 5:
                assert image[512:2048] == sector(2) * 3
                assert image[2048:] == sector(3) * 4
            if cut == 4:
                seen.add(tuple(image[at] for at in range(0, 4096, 512)))
            if cut == 0:
                assert not any(image)
    assert len(seen) > 100
