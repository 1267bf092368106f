"""Who else uses an image: locks on the open file, the same as QEMU's, so that each sees the other.

An open-file-description lock on byte 100 + i says "I do i", one on byte 200 + i "nobody else may do i" (QEMU manual,
"Disk image file locking"; bytes as /proc/locks shows them of QEMU 7.2). The bytes need not exist, and all locks are
read locks: a conflict is not a failing lock but a lock of another's that is found where there must be none.
"""

import fcntl
import os
import struct
from pathlib import Path

from bt.errors import BadUsage

READS, WRITES, RESIZES = 0, 1, 3
DONE_AT, REFUSED_AT = 100, 200  # first byte of what is done, and of what nobody else may do

FLOCK = struct.Struct("@hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid of struct flock, x86-64


def lock(descriptor: int, name: str, read_only: bool) -> None:
    """Claim the open file for reading, or for reading and writing. It lasts until `descriptor` is closed.

    Several may read; who writes is alone. Raises BadUsage if another process, or another disk of this one, is in the
    way. Hosts whose file systems have no locks are let through, as QEMU does.
    """
    done = (READS,) if read_only else (READS, WRITES)
    refused = (WRITES, RESIZES) if read_only else (WRITES,)
    ours = [DONE_AT + what for what in done] + [REFUSED_AT + what for what in refused]
    # no lock of another's may be there, after ours are seen by it: of two that start at once at least one is refused
    theirs = [REFUSED_AT + what for what in done] + [DONE_AT + what for what in refused]
    try:
        for byte in ours:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        taken = any(
            FLOCK.unpack(
                fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
            )[0]
            != fcntl.F_UNLCK
            for byte in theirs
        )
    except OSError:
        return
    if taken:
        verb = "write" if not read_only else "read"
        raise BadUsage(
            f"{name}: cannot {verb} it while {_user_of(descriptor)} uses it"
            f"{' for writing' if read_only else ''}: end that first, or give this machine a copy of the file"
        )


def _user_of(descriptor: int) -> str:
    """The process that has the same file open, as far as /proc tells us; the locks themselves name none."""
    wanted = os.fstat(descriptor)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for link in (process / "fd").iterdir():
                found = link.stat()
                same = (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino)
                if same and not (int(process.name) == os.getpid() and int(link.name) == descriptor):
                    return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # gone meanwhile, or somebody else's
    return "another process"
