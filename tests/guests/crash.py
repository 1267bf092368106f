"""Crash consistency: what a power failure may leave of a disk, checked as a journalling file system must come back.

A log of writes and flushes is cut at random; the disk is rebuilt of what was flushed before the cut and any part of the
rest; the journal is replayed; the file system must then be without errors and every file whole that the guest had been
told was safe.
"""

from __future__ import annotations

import hashlib
import random
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bt.disks.recording import FLUSH, Write, after_power_failure

Log = list[Write | None]

# QEMU's blklogwrites, which is the format of Linux's dm-log-writes: a sector for a head, then one for each entry
_MAGIC = 0x6A736677736872
_FLUSHES, _DISCARDS = 1, 4
_REPLAYED = (0, 1)  # e2fsck: nothing to do, or something was done


@dataclass(frozen=True)
class Synced:
    """A file that was safe when the log had `position` entries, and was not written since."""

    position: int
    path: str
    sha256: str


def read_log(path: Path) -> Log:
    """What QEMU has logged so far, of a disk with sectors of 512 bytes."""
    data = path.read_bytes()
    magic, _version, entries, size = struct.unpack_from("<QQQI", data)
    assert magic == _MAGIC
    log: Log = []
    at = size
    for _ in range(entries):
        sector, sectors, flags, _length = struct.unpack_from("<QQQQ", data, at)
        at += size
        if flags & _FLUSHES:
            log.append(FLUSH)
        elif not flags & _DISCARDS:
            log.append((sector * size, data[at : at + sectors * size]))
            at += sectors * size
    return log


def complaints(
    disk: bytes, log: Log, synced: Sequence[Synced], cuts: int, seed: int, scratch: Path
) -> Iterator[tuple[int, str]]:
    """What is wrong after power failures at `cuts` random places: pairs of the place and what is wrong there."""
    chance = random.Random(seed)
    for _ in range(cuts):
        cut = chance.randrange(len(log) + 1)
        image = bytearray(disk)
        after_power_failure(log, cut, chance, image)
        for complaint in _broken(image, [each for each in synced if each.position <= cut], scratch):
            yield cut, complaint


def _broken(image: bytes | bytearray, safe: Sequence[Synced], scratch: Path) -> Iterator[str]:
    path, files = scratch / "after", scratch / "files"
    path.write_bytes(image)
    replay = _run("e2fsck", "-E", "journal_only", "-y", str(path))
    if replay.returncode not in _REPLAYED:
        yield f"journal: {replay.stdout[-300:]}"
        return
    check = _run("e2fsck", "-f", "-n", str(path))
    if check.returncode:
        yield f"file system: {check.stdout[-300:]}"
    files.mkdir(exist_ok=True)
    script = "".join(f"dump {each.path} {files / str(number)}\n" for number, each in enumerate(safe))
    subprocess.run(["debugfs", "-f", "-", str(path)], input=script, text=True, capture_output=True, check=True)
    for number, each in enumerate(safe):
        copy = files / str(number)
        actual = hashlib.sha256(copy.read_bytes()).hexdigest() if copy.exists() else "nothing"
        copy.unlink(missing_ok=True)
        if actual != each.sha256:
            yield f"{each.path}: safe since {each.position}, and yet it is {actual}, not {each.sha256}"


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
