"""The library of the process: what machines share that were not given one."""

from __future__ import annotations

import os
import threading

from bt.engine.library.library import Library, load_library


class _Shared:
    """Loads the library when it is first asked for, and keeps it as long as the process lives.

    It stays when the last machine is closed: to load it takes twenty times as long as to make a machine, and without
    machines it has the memory of its image and tables and no more.
    """

    def __init__(self) -> None:
        self._forget()
        # the child of a fork would write its code where its parent runs: the arena is shared memory
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()  # a new one: a thread that held it does not exist in the child of a fork
        self._library: Library | None = None

    def get(self) -> Library:
        with self._lock:  # of several threads one loads, or builds, and the others wait
            if self._library is None or self._library.closed:
                self._library = load_library()
            return self._library


# State of a module, because it is the state of a process: two machines made in unconnected places have no other place
# in common.
_SHARED = _Shared()


def shared_library() -> Library:
    """The library of this process, loaded by whoever asks first. Raises what `load_library` does."""
    return _SHARED.get()
