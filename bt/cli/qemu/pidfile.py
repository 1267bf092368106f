"""-pidfile FILE: the number of bt's process, for scripts that end it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bt.errors import BadUsage


@contextmanager
def written(path: str) -> Iterator[None]:
    """While the block lasts, it is there. Raises BadUsage where it cannot be."""
    file = Path(path)
    try:
        file.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise BadUsage(f"-pidfile {path}: {error.strerror}") from error
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
