"""Having something done to a machine between two instructions, from whatever thread, and getting the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from bt.errors import BadUsage
from bt.host.sole_use import SoleUse

_T = TypeVar("_T")
Action = Callable[[], None]
LOOK_SECONDS = 0.05  # a run may end before it has done what was posted


class Errand(Generic[_T]):
    """Something to be done once, by whoever comes first."""

    def __init__(self, action: Callable[[], _T]) -> None:
        self._action = action
        self._lock = threading.Lock()
        self._is_taken = False
        self.done = threading.Event()
        self._answer: list[_T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it, unless somebody has begun to. What it raises `answer` raises."""
        with self._lock:
            if self._is_taken:
                return
            self._is_taken = True
        try:
            self._answer.append(self._action())
        except BaseException as error:
            self._error = error
        finally:
            self.done.set()

    def answer(self) -> _T:
        """What came of it, once it is done."""
        if self._error is not None:
            raise self._error
        return self._answer[0]


def ask(sole_use: SoleUse, post: Callable[[Action], None], action: Callable[[], _T]) -> _T:
    """Do `action` while the guest does not run, or have the thread that runs it do it; what it answers or raises."""
    errand = Errand(action)
    posted = False
    while not errand.done.is_set():
        if _at_once(sole_use, errand.run):
            break
        if not posted:
            post(errand.run)
            posted = True
        errand.done.wait(LOOK_SECONDS)
    errand.done.wait()
    return errand.answer()


def soon(sole_use: SoleUse, post: Callable[[Action], None], action: Action) -> None:
    """The same without waiting for it; what it raises the run raises, where another thread's is under way."""
    errand = Errand(action)
    if _at_once(sole_use, errand.run):
        errand.answer()
    else:
        post(action)


def _at_once(sole_use: SoleUse, run: Action) -> bool:
    """Do it in this thread, unless another one runs the guest."""
    try:
        sole_use.__enter__()
    except BadUsage:
        return False
    try:
        run()
    finally:
        sole_use.__exit__(None, None, None)
    return True
