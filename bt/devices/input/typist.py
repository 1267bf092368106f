"""Somebody at the keyboard: presses keys and lets them go, no faster than the guest takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bt.clock.virtual_clock import Event, VirtualClock
from bt.devices.input.keyboard import Keyboard
from bt.devices.input.us_layout import strokes

KEY_NS = 10_000_000  # from one movement of a key to the next, as QEMU has it
MOST_WAITING = 4096  # movements: what is beyond is for a guest that does not listen


class Typist:
    """What is typed waits here in the guest's time, and is no part of its state: a snapshot does not have it."""

    def __init__(self, clock: VirtualClock, keyboard: Keyboard) -> None:
        self._clock, self._keyboard = clock, keyboard
        self._waiting: deque[tuple[str, bool]] = deque()  # keys by name, True: pressed
        self._event: Event | None = None

    def press(self, *keys: str) -> None:
        """Press keys together, in this order, and let them go; their names are the keyboard's."""
        self._add([*((key, True) for key in keys), *((key, False) for key in reversed(keys))])

    def type(self, text: str) -> None:
        """Raises NoSuchKey, with nothing typed."""
        self._add(list(strokes(text)))

    def _add(self, movements: Sequence[tuple[str, bool]]) -> None:
        if len(self._waiting) + len(movements) > MOST_WAITING:
            return
        self._waiting.extend(movements)
        if self._event is None or not self._event.pending:
            self._move()

    def _move(self) -> None:
        """The next movement, if the guest has taken what the one before has sent."""
        if not self._keyboard.has_data:
            key, is_pressed = self._waiting.popleft()
            if is_pressed:
                self._keyboard.press(key)
            else:
                self._keyboard.release(key)
        if self._waiting:
            self._event = self._clock.schedule(self._clock.now_ns + KEY_NS, self._move)
