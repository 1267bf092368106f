"""Files whose contents will be run as code: only those that nobody but us could have written."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

NO_FOLLOWING = os.O_NOFOLLOW | os.O_CLOEXEC  # a link in the place of the file may be anybody's


def is_ours_alone(status: os.stat_result) -> bool:
    """Whether it is a plain file of this user's that no other may write."""
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def map_own_file(path: Path) -> mmap.mmap:
    """The contents, as the loader maps a shared object: pages come when they are touched, and are the page cache's
    until somebody writes here, which nobody else sees. The file may go, but must not be written to in place.

    Raises OSError unless nobody but us could have written them, ValueError for an empty file.
    """
    fd = os.open(path, os.O_RDONLY | NO_FOLLOWING)
    try:
        if not is_ours_alone(os.fstat(fd)):
            raise PermissionError(f"{path} is not ours alone")
        return mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(fd)
