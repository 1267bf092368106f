"""Who may use a guest's memory and processor now: one thread at a time, and nobody else while the guest runs.

Native code reads and writes both without a lock of its own. What another thread wants done to a running guest it has
the machine do between two instructions (`Machine.post`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from bt.errors import BadUsage


class SoleUse:
    """`with sole_use:` around what is over soon; `for_run` and `at_rest` around what is more.

    Threads wait for each other where that takes moments. Where a run is in the way they get BadUsage.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._runner: int | None = None  # the thread that runs the guest

    def __enter__(self) -> None:
        """Only this thread, until the end of the block; from inside of a run it may."""
        self._lock.acquire()
        if self._runner is not None and self._runner != threading.get_ident():
            self._lock.release()
            raise BadUsage(
                "the guest runs in another thread: stop() it and wait for run() to return, "
                "or have Machine.post do it between two instructions"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Only this thread, and the guest does not run: neither elsewhere nor around this call."""
        with self:
            if self._runner is not None:
                raise BadUsage(
                    "the guest is running: not from inside of run(), that is a device or what was posted; stop() it"
                )
            yield

    @contextmanager
    def for_run(self) -> Iterator[None]:
        """The guest runs in this thread until the end of the block."""
        with self.at_rest():
            self._runner = threading.get_ident()
        try:
            yield
        finally:
            self._runner = None
