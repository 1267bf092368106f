"""The PS/2 mouse, with wheel and five buttons once the guest has knocked."""

from typing import Any

from bt.clock.virtual_clock import NS_PER_SECOND, Event, VirtualClock
from bt.devices.input.ps2_device import ACKNOWLEDGE, BUFFER_BYTES, ERROR, RESEND, SELF_TEST_PASSED, Ps2Device

STANDARD, WHEEL, FIVE_BUTTONS = 0, 3, 4  # what it says it is
KNOCKS: dict[tuple[int, ...], int] = {
    (200, 100, 80): WHEEL,
    (200, 200, 80): FIVE_BUTTONS,
}  # sample rates set one after the other
DEFAULT_RATE, DEFAULT_RESOLUTION = 100, 2  # reports a second; 4 counts a millimetre
MAX_RESOLUTION = 3

LEFT, RIGHT, MIDDLE, SIDE, EXTRA = (1 << n for n in range(5))
ALWAYS_ONE = 1 << 3
MOST, LEAST = 127, -127  # of one report; what is more waits for the next
WHEEL_MOST, WHEEL_LEAST = 7, -8
SCALED = (0, 1, 1, 3, 6, 9)  # counts under scaling 2:1; from 6 on they double

RESET, SET_DEFAULTS, DISABLE, ENABLE, SET_RATE, IDENTIFY = 0xFF, 0xF6, 0xF5, 0xF4, 0xF3, 0xF2
REMOTE, WRAP, END_WRAP, READ_DATA, STREAM = 0xF0, 0xEE, 0xEC, 0xEB, 0xEA
STATUS, SET_RESOLUTION, SCALE_2_TO_1, SCALE_1_TO_1 = 0xE9, 0xE8, 0xE7, 0xE6


class Mouse(Ps2Device):
    """IBM PS/2 Hardware Interface Technical Reference, "Mouse"; Microsoft IntelliMouse's two longer reports.

    Motion is in counts whatever the resolution set; what happens between two reports is added up, and no report comes
    earlier than the sample rate has it. Nothing is lost while the guest does not read. Two bad bytes in a row are
    answered by an error.
    """

    fields = ("kind", "_rate", "_resolution", "_scales", "_reporting", "_remote", "_wrapping", "_awaiting_argument_of",
              "_buttons", "_reported_buttons", "_dx", "_dy", "_dz", "_knocks", "_next_ns", "_erred")  # fmt: skip

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._event: Event | None = None
        self._buttons = self._reported_buttons = 0
        self._next_ns = 0  # no report before
        self._erred = False
        self._reset()

    def move(self, dx: int, dy: int, dz: int = 0) -> None:
        """Right, away from the person and the wheel towards the person are positive, in counts."""
        if not self._remote and not self._reporting:
            return
        self._dx += dx
        self._dy += dy
        self._dz += dz if self.kind else 0
        self._report_when_due()

    def set_buttons(self, buttons: int) -> None:
        """Those that are down: LEFT, RIGHT, MIDDLE, SIDE, EXTRA."""
        self._buttons = buttons & (0b11111 if self.kind == FIVE_BUTTONS else 0b111)
        self._report_when_due()

    def take(self) -> int:
        value = super().take()
        self._report_when_due()  # there may be room now
        return value

    def power_on(self) -> None:
        super().power_on()
        self._reset()

    def state(self) -> dict[str, Any]:
        return super().state() | {"event": self._event.state() if self._event else None}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._clock.cancel(self._event)
        self._event = self._clock.restore_event(state["event"], self._report_due)

    # reports

    def _has_news(self) -> bool:
        return bool(self._dx or self._dy or self._dz) or self._buttons != self._reported_buttons

    def _report_when_due(self) -> None:
        if not self._reporting or self._remote or self._wrapping or not self._has_news():
            return
        if len(self._events) + 4 > BUFFER_BYTES:
            return
        if self._clock.now_ns >= self._next_ns:
            self._report()
        elif self._event is None or not self._event.pending:
            self._event = self._clock.schedule(self._next_ns, self._report_due)

    def _report_due(self) -> None:
        self._report_when_due()

    def _report(self) -> None:
        self._next_ns = self._clock.now_ns + NS_PER_SECOND // self._rate
        self._events.extend(self._packet(self._scales))
        self.wants_to_send()
        self._report_when_due()

    def _packet(self, scaled: bool) -> tuple[int, ...]:
        dx, dy = (max(LEAST, min(count, MOST)) for count in (self._dx, self._dy))
        self._dx -= dx
        self._dy -= dy
        buttons = self._reported_buttons = self._buttons
        if scaled:
            dx, dy = _scaled(dx), _scaled(dy)
        first = buttons & 0b111 | ALWAYS_ONE | (dx < 0) << 4 | (dy < 0) << 5
        packet = first, dx & 0xFF, dy & 0xFF
        if self.kind == STANDARD:
            return packet
        dz = max(WHEEL_LEAST, min(self._dz, WHEEL_MOST))
        self._dz -= dz
        return *packet, dz & 0xFF if self.kind == WHEEL else dz & 0x0F | (buttons & (SIDE | EXTRA)) << 1

    # commands

    def _reset(self) -> None:
        self.kind = STANDARD
        self._remote = self._wrapping = False
        self._awaiting_argument_of = 0
        self._knocks: list[int] = []
        self._set_defaults()

    def _set_defaults(self) -> None:
        self._rate, self._resolution, self._scales = DEFAULT_RATE, DEFAULT_RESOLUTION, False
        self._reporting = self._remote = False
        self._forget_motion()

    def _forget_motion(self) -> None:
        self._dx = self._dy = self._dz = 0
        self._reported_buttons = self._buttons
        self._events.clear()

    def _answer(self, value: int) -> tuple[int, ...]:
        if self._wrapping and value not in (RESET, END_WRAP):
            return (value,)
        command, self._awaiting_argument_of = self._awaiting_argument_of, 0
        if command:
            return self._argument(command, value)
        if value in (SET_RATE, SET_RESOLUTION):
            self._awaiting_argument_of = value
            return self._acknowledged()
        answer = self._commanded(value)
        if answer is None:
            return self._refused()
        self._erred = False
        return answer

    def _acknowledged(self) -> tuple[int, ...]:
        self._erred = False
        return (ACKNOWLEDGE,)

    def _refused(self) -> tuple[int, ...]:
        self._erred = not self._erred
        return (RESEND if self._erred else ERROR,)

    def _argument(self, command: int, value: int) -> tuple[int, ...]:
        if command == SET_RESOLUTION:
            if value > MAX_RESOLUTION:
                return self._refused()
            self._resolution = value
        else:
            if not value:
                return self._refused()
            self._rate = value
            self._knocks = [*self._knocks[-2:], value]
            self.kind = KNOCKS.get(tuple(self._knocks), self.kind)
        return self._acknowledged()

    def _commanded(self, value: int) -> tuple[int, ...] | None:
        """The answer, None for no command."""
        match value:
            case 0xFF:
                self._reset()
                return ACKNOWLEDGE, SELF_TEST_PASSED, STANDARD
            case 0xF6:
                self._set_defaults()
            case 0xF5 | 0xF4:
                self._reporting = value == ENABLE
                self._forget_motion()
            case 0xF2:
                return ACKNOWLEDGE, self.kind
            case 0xF0 | 0xEA:
                self._remote = value == REMOTE
                self._forget_motion()
            case 0xEE | 0xEC:
                self._wrapping = value == WRAP
                self._forget_motion()
            case 0xEB:
                return ACKNOWLEDGE, *self._packet(False)
            case 0xE9:
                return ACKNOWLEDGE, self._status(), self._resolution, self._rate
            case 0xE7 | 0xE6:
                self._scales = value == SCALE_2_TO_1
            case _:
                return None
        return (ACKNOWLEDGE,)

    def _status(self) -> int:
        buttons = self._buttons
        return (
            self._remote << 6 | self._reporting << 5 | self._scales << 4
            | bool(buttons & LEFT) << 2 | bool(buttons & MIDDLE) << 1 | bool(buttons & RIGHT)
        )  # fmt: skip


def _scaled(count: int) -> int:
    size = abs(count)
    size = SCALED[size] if size < len(SCALED) else 2 * size
    return size if count >= 0 else -size
