"""Loads the native library, and tells whoever waits for its first compilation why."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from bt.devices.native import NATIVE_DEVICES
from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.x86 import cpu_model

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_SECONDS = 0.3
WAIT_SECONDS = 3.0  # another process builds: all we see is that it takes long
_TITLE = "bt: first start, compiling for this processor"


def load(cpu: str = cpu_model.DEFAULT) -> Library:
    """The library with what machines of that `-cpu` need; a first start shows on stderr how far its compilation is."""
    with _Patience() as patience:
        library = load_library(progress=patience.show)
        library.part(NATIVE_DEVICES)
        if not cpu_model.parse(cpu).lacks("lm"):
            library.long_handlers(progress=patience.show)
        return library


class _Patience:
    """Nothing for PATIENCE_SECONDS of building, then a progress bar on a terminal, one line elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = self._told = False
        self._bar: tuple[Progress, TaskID] | None = None
        self._building = False
        # timers, because the first module is compiled only seconds after the start
        self._timer = self._after(WAIT_SECONDS)

    def _after(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._begin)
        timer.daemon = True
        timer.start()
        return timer

    def __enter__(self) -> _Patience:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._bar is not None:
                self._bar[0].stop()

    def show(self, done: int, total: int) -> None:
        """`done` of `total` modules are compiled."""
        if not self._building:
            self._building = True
            self._timer.cancel()
            self._timer = self._after(PATIENCE_SECONDS)
        with self._lock:
            if self._bar is not None:
                self._bar[0].update(self._bar[1], completed=done, total=total)

    def _begin(self) -> None:
        with self._lock:
            if self._over or self._told:
                return
            self._told = True
            if not sys.stderr.isatty():
                print(f"{_TITLE}; the result is kept", file=sys.stderr, flush=True)
                return
            # only here: it takes longer than a whole run of a small guest
            from rich.console import Console
            from rich.progress import Progress

            bar = Progress(console=Console(stderr=True), transient=True)
            self._bar = (bar, bar.add_task(_TITLE, total=None))
            bar.start()
