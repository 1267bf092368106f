"""Files whose contents will be run as code: only those that nobody but us could have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

NO_FOLLOWING = os.O_NOFOLLOW | os.O_CLOEXEC  # a link in the place of the file may be anybody's


def is_ours_alone(status: os.stat_result) -> bool:
    """Whether it is a plain file of this user's that no other may write."""
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def read_own_file(path: Path) -> bytes:
    """The contents. Raises OSError unless nobody but us could have written them."""
    fd = os.open(path, os.O_RDONLY | NO_FOLLOWING)
    with open(fd, "rb", buffering=0) as file:
        if not is_ours_alone(os.fstat(fd)):
            raise PermissionError(f"{path} is not ours alone")
        return file.read()
