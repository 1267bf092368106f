"""The PS/2 keyboard: three scan code sets, typematic repeat, LEDs."""

from collections.abc import Callable
from typing import Any

from bt.clock.virtual_clock import NS_PER_SECOND, Event, VirtualClock
from bt.devices.input.keys import ALTS, CONTROLS, SHIFTS, SYNONYMS, sequences
from bt.devices.input.ps2_device import ACKNOWLEDGE, BUFFER_BYTES, RESEND, SELF_TEST_PASSED, Ps2Device
from bt.errors import BtError

IDENTIFICATION = (0xAB, 0x83)
ECHO = 0xEE
DEFAULT_SET = 2
DEFAULT_TYPEMATIC = 0x2B  # 500 ms, 10.9 a second
SET_LEDS, CHOOSE_SET, SET_TYPEMATIC = 0xED, 0xF0, 0xF3
TAKES_ARGUMENT = frozenset({SET_LEDS, CHOOSE_SET, SET_TYPEMATIC})
OVERRUN = {1: 0xFF, 2: 0x00, 3: 0x00}  # in place of what had no room

# what keys of set 3 do: commands F7h-FAh say it of all, FBh-FDh of those that follow
REPEATS, BREAKS = 1 << 0, 1 << 1
KEY_TYPES = {0xF7: REPEATS, 0xF8: BREAKS, 0xF9: 0, 0xFA: REPEATS | BREAKS, 0xFB: REPEATS, 0xFC: BREAKS, 0xFD: 0}
ONE_KEY = frozenset({0xFB, 0xFC, 0xFD})
NEVER_REPEAT = SHIFTS | CONTROLS | ALTS | {"print", "pause", "caps_lock", "num_lock", "scroll_lock"}


class UnknownKey(BtError):
    """A key that no PS/2 keyboard has."""


class Keyboard(Ps2Device):
    """IBM PS/2 Hardware Interface Technical Reference, "Keyboard".

    Keys have QEMU's names. A key that is held repeats in the guest's time; pressing it once more, as hosts do, means
    nothing. Without a clock nothing repeats. After power-on all keys of set 3 repeat and tell when they are let go.
    Cursor keys send no shifts around them while Num Lock or Shift is on.
    """

    fields = ("leds", "scan_code_set", "scanning", "_awaiting_argument_of", "_typematic", "_type_of_all", "_repeating")

    def __init__(self, clock: VirtualClock | None = None, leds_changed: Callable[[int], None] | None = None) -> None:
        """`leds_changed` gets the LEDs: bit 0 Scroll Lock, 1 Num Lock, 2 Caps Lock."""
        super().__init__()
        self._clock = clock
        self._leds_changed = leds_changed
        self._event: Event | None = None
        self._held: dict[str, bytes] = {}  # keys that are down, and what they send when they are let go
        self.leds = 0
        self._types: dict[int, int] = {}  # of single keys, by their code in set 3
        self._set_defaults()
        self._awaiting_argument_of = 0
        self.scanning = True

    def press(self, key: str) -> None:
        """Raises UnknownKey."""
        key = SYNONYMS.get(key, key)
        make, break_ = self._sequences(key)
        if key in self._held:
            return
        self._held[key] = break_
        if not self.scanning:
            return
        self._send(make)
        self._stop_repeating()
        if key not in NEVER_REPEAT and make and self._type_of(make) & REPEATS:
            self._repeating = make.hex()
            self._repeat_after(self._delay_ns())

    def release(self, key: str) -> None:
        """Raises UnknownKey."""
        key = SYNONYMS.get(key, key)
        make, _ = self._sequences(key)
        break_ = self._held.pop(key, None)
        if break_ is None:
            return
        if self._repeating == make.hex():
            self._stop_repeating()
        if self.scanning and (not make or self._type_of(make) & BREAKS):
            self._send(break_)

    def power_on(self) -> None:
        super().power_on()
        self._reset()

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "held": {key: break_.hex() for key, break_ in self._held.items()},
            "types": [list(item) for item in self._types.items()],
            "event": self._event.state() if self._event else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._set_leds(state["leds"])
        super().restore(state)
        self._held = {key: bytes.fromhex(break_) for key, break_ in state["held"].items()}
        self._types = dict(state["types"])
        if self._clock is not None:
            self._clock.cancel(self._event)
            self._event = self._clock.restore_event(state["event"], self._repeat)

    def _sequences(self, key: str) -> tuple[bytes, bytes]:
        try:
            return sequences(key, self.scan_code_set, frozenset(self._held))
        except KeyError:
            raise UnknownKey(
                f"{key!r} is no key: give a name as QEMU's sendkey has it, such as 'ret' or 'f1'"
            ) from None

    def _send(self, codes: bytes) -> None:
        room = BUFFER_BYTES - len(self._events)
        if len(codes) < room:
            self._events.extend(codes)
        elif room:
            self._events.append(OVERRUN[self.scan_code_set])
        self.wants_to_send()

    # typematic

    def _delay_ns(self) -> int:
        return ((self._typematic >> 5 & 3) + 1) * NS_PER_SECOND // 4

    def _period_ns(self) -> int:
        rate = self._typematic & 0x1F
        return ((8 + (rate & 7)) << (rate >> 3)) * NS_PER_SECOND // 240

    def _repeat_after(self, ns: int) -> None:
        if self._clock is not None:
            self._event = self._clock.schedule(self._clock.now_ns + ns, self._repeat)

    def _repeat(self) -> None:
        if not self._events:  # a guest that does not read finds one code, not sixteen
            self._send(bytes.fromhex(self._repeating))
        self._repeat_after(self._period_ns())

    def _stop_repeating(self) -> None:
        self._repeating = ""
        if self._clock is not None:
            self._clock.cancel(self._event)
        self._event = None

    # commands

    def _reset(self) -> None:
        self._events.clear()
        self._set_defaults()
        self._set_leds(0)
        self._awaiting_argument_of = 0
        self.scanning = True

    def _set_defaults(self) -> None:
        self.scan_code_set = DEFAULT_SET
        self._typematic = DEFAULT_TYPEMATIC
        self._type_of_all = REPEATS | BREAKS
        self._types.clear()
        self._stop_repeating()

    def _type_of(self, make: bytes) -> int:
        if self.scan_code_set != 3:
            return REPEATS | BREAKS
        return self._types.get(make[-1], self._type_of_all)

    def _set_leds(self, value: int) -> None:
        if value != self.leds:
            self.leds = value
            if self._leds_changed is not None:
                self._leds_changed(value)

    def _answer(self, value: int) -> tuple[int, ...]:
        command, self._awaiting_argument_of = self._awaiting_argument_of, 0
        if command in ONE_KEY and value < 0x80:
            self._types[value] = KEY_TYPES[command]
            self._awaiting_argument_of = command  # more keys may follow, until a command does
            return (ACKNOWLEDGE,)
        if command and value < 0x80:
            return self._argument(command, value)
        if value in TAKES_ARGUMENT or value in ONE_KEY:
            self._awaiting_argument_of = value
            return (ACKNOWLEDGE,)
        if value in KEY_TYPES:
            self._type_of_all = KEY_TYPES[value]
            self._types.clear()
            return (ACKNOWLEDGE,)
        match value:
            case 0xFF:  # reset
                self._reset()
                return ACKNOWLEDGE, SELF_TEST_PASSED
            case 0xF2:
                return ACKNOWLEDGE, *IDENTIFICATION
            case 0xEE:
                return (ECHO,)
            case 0xF4 | 0xF5 | 0xF6:  # enable; defaults and disable; defaults
                self._events.clear()
                if value != 0xF4:
                    self._set_defaults()
                self.scanning = value != 0xF5
                return (ACKNOWLEDGE,)
            case _:
                return (RESEND,)

    def _argument(self, command: int, value: int) -> tuple[int, ...]:
        match command:
            case 0xED:
                self._set_leds(value & 0b111)
            case 0xF3:
                self._typematic = value
            case _ if value == 0:
                return ACKNOWLEDGE, self.scan_code_set
            case _ if value > 3:
                return (RESEND,)
            case _:
                self.scan_code_set = value
                self._stop_repeating()
        return (ACKNOWLEDGE,)
