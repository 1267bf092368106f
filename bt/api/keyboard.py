"""The keyboard and the mouse as somebody who sits before them uses them: at the pace of a person, in guest time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from bt import arguments
from bt.clock.virtual_clock import Event, VirtualClock
from bt.devices.input import keyboard, mouse
from bt.devices.input.keys import KEYS, ONE_CODE_IN_SET_3, SYNONYMS
from bt.devices.input.us_layout import strokes
from bt.errors import BadUsage

STROKE_NS = 10_000_000  # between a key going down or up and the next one: firmware polls every few milliseconds
HOLD_MS = 100  # how long keys of a combination are held, as in QEMU
Soon = Callable[[Callable[[], None]], None]


class Keyboard:
    """Keys by QEMU's names ("a", "ret", "f1", "ctrl", "spc", ...), on a US keyboard.

    What is typed waits here and goes down and up while the guest runs, STROKE_NS of guest time apart; it is forgotten
    when the machine goes back to a snapshot. `press` and `release` do at once what they say. May be used from any
    thread.
    """

    def __init__(self, device: keyboard.Keyboard, clock: VirtualClock, soon: Soon) -> None:
        """`soon` has something done between two instructions."""
        self._device, self._clock, self._soon = device, clock, soon
        self._waiting: deque[tuple[str, bool, int]] = deque()  # key, down, nanoseconds before the next
        self._event: Event | None = None

    def type(self, text: str) -> None:
        """Type text; a line feed is the return key. Raises NoSuchKey, nothing typed, for what has no key."""
        arguments.instance("text", text, str, "text is wanted")
        self._enter([(key, down, STROKE_NS) for key, down in strokes(text)])

    def keys(self, *combinations: str, hold_ms: float = HOLD_MS) -> None:
        """Press keys together and let them go after `hold_ms` milliseconds of guest time, one combination after
        another: keys("ctrl-alt-delete"), keys("down", "ret"). Raises BadUsage, nothing pressed, for unknown names.
        """
        arguments.require(hold_ms >= 0, "hold_ms", hold_ms, "milliseconds are wanted")
        found: list[tuple[str, bool, int]] = []
        for combination in combinations:
            names = [_known(name) for name in combination.split("-")]
            found += [(name, True, STROKE_NS) for name in names[:-1]]
            found.append((names[-1], True, int(hold_ms * 1_000_000)))
            found += [(name, False, STROKE_NS) for name in reversed(names)]
        self._enter(found)

    def press(self, key: str) -> None:
        """The key goes down, and stays there."""
        name = _known(key)
        self._soon(lambda: self._device.press(name))

    def release(self, key: str) -> None:
        """The key comes up."""
        name = _known(key)
        self._soon(lambda: self._device.release(name))

    @property
    def is_busy(self) -> bool:
        """Whether something that was typed is still to be pressed or let go."""
        return bool(self._waiting)

    def forget(self) -> None:
        """What waits is not typed any more."""
        self._waiting.clear()
        self._clock.cancel(self._event)

    def _enter(self, wanted: Iterable[tuple[str, bool, int]]) -> None:
        entries = list(wanted)

        def begin() -> None:
            self._waiting.extend(entries)
            if self._event is None or not self._event.pending:
                self._next_after(0)

        self._soon(begin)

    def _next_after(self, ns: int) -> None:
        self._event = self._clock.schedule(self._clock.now_ns + ns, self._stroke)

    def _stroke(self) -> None:
        if self._waiting:
            key, down, wait_ns = self._waiting.popleft()
            (self._device.press if down else self._device.release)(key)
            self._next_after(wait_ns)


class Mouse:
    """The PS/2 mouse; may be used from any thread."""

    def __init__(self, device: mouse.Mouse, soon: Soon) -> None:
        self._device, self._soon = device, soon

    def move(self, dx: int, dy: int, dz: int = 0) -> None:
        """Move it by so many counts to the right and down, and turn its wheel by `dz`."""
        for name, value in (("dx", dx), ("dy", dy), ("dz", dz)):
            arguments.whole_number(name, value)
        self._soon(lambda: self._device.move(dx, dy, dz))

    def buttons(self, *, left: bool = False, right: bool = False, middle: bool = False) -> None:
        """Hold these buttons, and no others."""
        held = left << 0 | right << 1 | middle << 2
        self._soon(lambda: self._device.set_buttons(held))


def _known(name: str) -> str:
    arguments.instance("key", name, str, "the name of a key is wanted, such as 'ret'")
    name = SYNONYMS.get(name, name)
    if name not in KEYS and name not in ONE_CODE_IN_SET_3:
        raise BadUsage(f"key {name!r}: there is none; names are those of QEMU's sendkey, such as ret, f1, ctrl, spc")
    return name
