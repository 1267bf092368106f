"""What keyboard and mouse have in common: a serial line on which one byte follows the other."""

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

ACKNOWLEDGE, RESEND, ERROR = 0xFA, 0xFE, 0xFC
SELF_TEST_PASSED = 0xAA
BUFFER_BYTES = 16  # of what it sends by itself, and of answers; IBM PS/2 Technical Reference, "Keyboard buffer"


class Ps2Device:
    """Answers go before what it sends by itself, and are there as soon as it was asked."""

    fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.wants_to_send: Callable[[], None] = _nobody_listens
        self._answers: deque[int] = deque()
        self._events: deque[int] = deque()
        self._last: tuple[int, ...] = (SELF_TEST_PASSED,)

    @property
    def has_data(self) -> bool:
        return bool(self._answers or self._events)

    def take(self) -> int:
        """The next byte."""
        return self._answers.popleft() if self._answers else self._events.popleft()

    def receive(self, value: int) -> None:
        """A byte from the controller."""
        if value == RESEND:
            answer = self._last
        else:
            answer = self._last = self._answer(value)
        self._answers.extend(answer[: BUFFER_BYTES - len(self._answers)])

    def power_on(self) -> None:
        self._answers.clear()
        self._events.clear()
        self._last = (SELF_TEST_PASSED,)

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fields} | {
            "answers": list(self._answers),
            "events": list(self._events),
            "last": list(self._last),
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name in self.fields:
            setattr(self, name, state[name])
        self._answers = deque(state["answers"])
        self._events = deque(state["events"])
        self._last = tuple(state["last"])

    def _answer(self, value: int) -> tuple[int, ...]:
        raise NotImplementedError


def _nobody_listens() -> None:
    pass
