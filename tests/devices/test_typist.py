"""Typing, no faster than the guest takes it."""

from __future__ import annotations

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.input.keyboard import Keyboard
from bt.devices.input.typist import KEY_NS, MOST_WAITING, Typist
from bt.devices.input.us_layout import NoSuchKey


class Desk:
    """A keyboard, its typist, and a guest that reads it when it likes."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.keyboard = Keyboard()
        self.typist = Typist(self.clock, self.keyboard)

    def read(self, ns: int = 100 * KEY_NS) -> bytes:
        """What the guest gets in that time when it takes each byte at once."""
        found = bytearray()
        end = self.clock.now_ns + ns
        while True:
            while self.keyboard.has_data:
                found.append(self.keyboard.take())
            left = self.clock.ns_to_next_event
            if left is None or self.clock.now_ns + left > end:
                return bytes(found)
            self.clock.skip_to_next_event()
            self.clock.run_due()


def test_a_key_is_pressed_at_once_and_let_go_later() -> None:
    desk = Desk()
    desk.typist.press("a")
    assert desk.read(0) == b"\x1c"
    assert desk.read(KEY_NS) == b"\xf0\x1c"
    assert desk.clock.ns_to_next_event is None


def test_keys_together() -> None:
    desk = Desk()
    desk.typist.press("ctrl", "alt", "delete")
    assert desk.read() == bytes.fromhex("14 11 e071 e0f071 f011 f014")


def test_much_text_arrives_whole() -> None:
    """More than the 16 bytes that a keyboard keeps."""
    desk = Desk()
    text = "the quick brown fox jumps over the lazy dog"
    desk.typist.type(text)
    assert len(desk.read(3 * len(text) * KEY_NS)) == 3 * len(text)


def test_a_guest_that_does_not_read_loses_nothing() -> None:
    desk = Desk()
    desk.typist.type("abc" * 4)
    for _ in range(100):
        desk.clock.skip_to_next_event()
        desk.clock.run_due()
    assert desk.read() == bytes.fromhex("1c f01c 32 f032 21 f021") * 4


def test_there_is_an_end_to_what_waits() -> None:
    desk = Desk()
    for _ in range(MOST_WAITING):
        desk.typist.press("a")
    assert len(desk.read(2 * MOST_WAITING * KEY_NS)) <= 3 * MOST_WAITING // 2 + 3


def test_what_is_on_no_key() -> None:
    desk = Desk()
    with pytest.raises(NoSuchKey):
        desk.typist.type("aé")
    assert desk.read() == b""


def test_it_types_on_when_its_event_was_dropped() -> None:
    """As restoring a snapshot does."""
    desk = Desk()
    desk.typist.press("a")
    desk.clock.restore(desk.clock.state())
    desk.typist.press("b")
    assert desk.read() == bytes.fromhex("1c f01c 32 f032")
