"""The keyboard: what keys send, what commands change, how it repeats."""

import random

import pytest

from bt.devices.input.keyboard import UnknownKey
from bt.devices.input.keys import KEYS, sequences
from bt.devices.input.us_layout import NoSuchKey, keys_of, strokes
from tests.devices.board import pass_time, transplant
from tests.devices.input.desk import Desk

MS = 1_000_000


@pytest.fixture
def desk() -> Desk:
    return Desk()


def typed(desk: Desk, key: str) -> str:
    desk.keyboard.press(key)
    desk.keyboard.release(key)
    return desk.receive()


@pytest.mark.parametrize(
    ("scan_code_set", "translated", "sent"),
    [(2, False, "1cf01c"), (1, False, "1e9e"), (3, False, "1cf01c"), (2, True, "1e9e")],
)
def test_sets_and_translation(desk: Desk, scan_code_set: int, translated: bool, sent: str) -> None:
    desk.command(0x60, 0x43 if translated else 0x03)
    assert desk.ask_keyboard(0xF0, scan_code_set) == "fafa"
    assert typed(desk, "a") == sent


def test_the_set_is_told_as_translation_has_it(desk: Desk) -> None:
    desk.command(0x60, 0x43)
    assert desk.ask_keyboard(0xF0, 0) == "fafa41"


@pytest.mark.parametrize(
    ("held", "key", "sent"),
    [
        ((), "print", "e012e07ce0f07ce0f012"),
        (("shift",), "print", "e07ce0f07c"),
        (("alt",), "print", "84f084"),
        ((), "pause", "e11477e1f014f077"),
        (("ctrl",), "pause", "e07ee0f07e"),
        ((), "sysrq", "e012e07ce0f07ce0f012"),
    ],
)
def test_keys_that_look_at_others(desk: Desk, held: tuple[str, ...], key: str, sent: str) -> None:
    for other in held:
        desk.keyboard.press(other)
    desk.receive()
    assert typed(desk, key) == sent


def test_a_held_key_repeats_at_the_rate_set(desk: Desk) -> None:
    assert desk.ask_keyboard(0xF3, 0x20 | 0x0C) == "fafa"  # 500 ms, then (8 + 4) * 2 / 240 s
    desk.keyboard.press("a")
    assert desk.receive() == "1c"
    seen = []
    for _ in range(800):
        pass_time(desk.clock, MS)
        seen.append(desk.receive())
    assert [n for n, codes in enumerate(seen, 1) if codes] == [500, 600, 700, 800]
    desk.keyboard.press("a")  # the host's own repeat
    assert desk.receive() == ""
    desk.keyboard.press("b")
    desk.keyboard.release("a")
    assert desk.receive() == "32f01c"
    pass_time(desk.clock, 500 * MS)
    assert desk.receive() == "32"
    desk.keyboard.release("b")
    pass_time(desk.clock, 2000 * MS)
    assert desk.receive() == "f032"


def test_modifiers_do_not_repeat(desk: Desk) -> None:
    desk.keyboard.press("shift")
    pass_time(desk.clock, 2000 * MS)
    assert desk.receive() == "12"


def test_a_full_buffer_shows_an_overrun_and_leaves_answers_room(desk: Desk) -> None:
    desk.keyboard.wants_to_send = lambda: None
    for key in "abcdefghijklmnop" * 2:
        desk.keyboard.press(key)
        desk.keyboard.release(key)
    assert len(desk.keyboard._events) <= 16
    assert desk.ask_keyboard(0xEE).startswith("ee")
    desk.keyboard.wants_to_send = lambda: None
    for key in "abcdefgh":
        desk.keyboard.press(key)
        desk.keyboard.release(key)
    assert desk.keyboard._events[-1] == 0


def test_scanning_off_and_defaults(desk: Desk) -> None:
    assert desk.ask_keyboard(0xF5) == "fa"
    assert typed(desk, "a") == ""
    assert desk.ask_keyboard(0xF4) == "fa"
    assert typed(desk, "a") == "1cf01c"
    desk.ask_keyboard(0xF0, 3, 0xF6)
    assert desk.keyboard.scan_code_set == 2


def test_leds(desk: Desk) -> None:
    assert desk.ask_keyboard(0xED, 0x07) == "fafa"
    assert desk.leds == [7]
    desk.ask_keyboard(0xFF)
    assert desk.leds == [7, 0]


def test_key_types_of_set_3(desk: Desk) -> None:
    desk.ask_keyboard(0xF0, 3)
    assert desk.ask_keyboard(0xF9) == "fa"  # make only
    assert typed(desk, "a") == "1c"
    assert desk.ask_keyboard(0xFC, 0x1C, 0x32, 0xF4) == "fafafafa"  # two keys make and break
    assert typed(desk, "a") == "1cf01c"
    assert typed(desk, "b") == "32f032"
    assert typed(desk, "c") == "21"
    desk.keyboard.press("a")
    pass_time(desk.clock, 2000 * MS)
    assert desk.receive() == "1c"
    assert desk.ask_keyboard(0xFA) == "fa"
    desk.keyboard.press("c")
    pass_time(desk.clock, 500 * MS)
    assert desk.receive() == "2121"


def test_a_fourth_set_is_refused(desk: Desk) -> None:
    assert desk.ask_keyboard(0xF0, 4) == "fafe"
    assert desk.ask_keyboard(0xF0, 0) == "fafa02"


def test_unknown_keys(desk: Desk) -> None:
    with pytest.raises(UnknownKey, match="'any'"):
        desk.keyboard.press("any")
    with pytest.raises(UnknownKey):
        desk.keyboard.release("any")


def test_no_two_keys_send_the_same() -> None:
    for scan_code_set in (1, 2):
        made = [sequences(key, scan_code_set)[0] for key in KEYS]
        assert len(set(made)) == len(made)
        assert all(made)


def test_text_becomes_strokes() -> None:
    assert list(strokes("A?")) == [
        ("shift", True), ("a", True), ("a", False), ("shift", False),
        ("shift", True), ("slash", True), ("slash", False), ("shift", False),
    ]  # fmt: skip
    assert keys_of("\n") == ("ret",)
    assert keys_of("\x03") == ("ctrl", "c")
    with pytest.raises(NoSuchKey, match="'ä'"):
        keys_of("ä")
    for character in map(chr, range(0x20, 0x7F)):
        assert all(key in KEYS for key in keys_of(character))


@pytest.mark.parametrize("seed", range(4))
def test_any_traffic_is_harmless_and_survives_a_snapshot(seed: int) -> None:
    rng = random.Random(seed)
    keys = [*KEYS, "print", "pause", "sysrq"]

    def step(desk: Desk, rng: random.Random) -> str:
        match rng.randrange(8):
            case 0:
                desk.outb(0x64, rng.choice([0x20, 0x60, 0xA7, 0xA8, 0xAD, 0xAE, 0xD4, 0xD4, rng.randrange(256)]))
            case 1 | 2:
                desk.outb(0x60, rng.choice([rng.randrange(0xE0, 0x100), rng.randrange(256), 200, 80, 3]))
            case 3:
                desk.keyboard.press(rng.choice(keys))
            case 4:
                desk.keyboard.release(rng.choice(keys))
            case 5:
                desk.mouse.move(rng.randrange(-500, 500), rng.randrange(-500, 500), rng.randrange(-20, 20))
                desk.mouse.set_buttons(rng.randrange(256))
            case 6:
                pass_time(desk.clock, rng.randrange(300) * MS)
            case _:
                return f"{desk.inb(0x64):02x}{desk.inb(0x60):02x}"
        assert len(desk.keyboard._events) <= 16
        assert len(desk.keyboard._answers) <= 16
        assert len(desk.mouse._events) <= 16
        return ""

    desk = Desk()
    for _ in range(1500):
        step(desk, rng)
    copy = Desk()
    copy.clock.restore(desk.clock.state())
    transplant(desk.controller, copy.controller)
    assert (desk.irq1.level, desk.irq12.level) == (copy.irq1.level, copy.irq12.level)
    one, other = random.Random(seed), random.Random(seed)
    assert [step(desk, one) for _ in range(1000)] == [step(copy, other) for _ in range(1000)]
    assert desk.receive() == copy.receive()
