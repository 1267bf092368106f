"""What terminals send, as keys."""

from __future__ import annotations

import pytest

from bt.console.keyboard import KeyDecoder, Keys, Unknown
from bt.devices.input.keyboard import Keyboard


def pressed(data: bytes) -> list[str]:
    """Keys as QEMU's sendkey has them, unknown characters as they are; nothing follows."""
    decoder = KeyDecoder()
    found = decoder.feed(data) + decoder.end_of_sequence()
    return ["-".join(each.names) if isinstance(each, Keys) else each.character for each in found]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"aA1!", "a shift-a 1 shift-1"),
        (b"\r\t \x7f\x08", "ret tab spc backspace backspace"),
        (b"\x03\x1a\x01\0", "ctrl-c ctrl-z ctrl-a ctrl-spc"),
        (b"\x1c\x1d\x1e\x1f", "ctrl-backslash ctrl-bracket_right ctrl-6 ctrl-minus"),
        (b"\x1b", "esc"),
        (b"\x1b\x1b", "esc esc"),
        (b"\x1bx\x1bX", "alt-x alt-shift-x"),
        (b"\x1b\x03", "alt-ctrl-c"),
        (b"\x1b[A\x1bOA", "up up"),
        (b"\x1b[1;5C\x1b[1;2D\x1b[1;3A", "ctrl-right shift-left alt-up"),
        (b"\x1b\x1b[A", "alt-up"),
        (b"\x1b[2~\x1b[3~\x1b[5~\x1b[6~\x1b[3;5~", "insert delete pgup pgdn ctrl-delete"),
        (b"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1bOH\x1bOF\x1b[7~\x1b[8~", "home end home end home end home end"),
        (b"\x1bOP\x1bOQ\x1bOR\x1bOS", "f1 f2 f3 f4"),
        (b"\x1b[[A\x1b[[E\x1b[11~\x1b[15~", "f1 f5 f1 f5"),
        (b"\x1b[17~\x1b[18~\x1b[19~\x1b[20~\x1b[21~\x1b[23~\x1b[24~", "f6 f7 f8 f9 f10 f11 f12"),
        (b"\x1b[1;5P\x1b[15;2~\x1b[24;8~", "ctrl-f1 shift-f5 shift-ctrl-alt-f12"),
        (b"\x1b[Z", "shift-tab"),
        (b"\x1b[?62;c\x1b[I", ""),  # answers of a terminal
        (b"\x1b[", "alt-bracket_left"),
        (b"\x1bO", "alt-shift-o"),
        ("aéb€".encode(), "a é b €"),
        (b"\xff", "\ufffd"),
    ],
)
def test_keys(data: bytes, keys: str) -> None:
    assert " ".join(pressed(data)) == keys


@pytest.mark.parametrize("data", [b"a\x1b[1;5Cb\x1bOP\x1b[[Ac", "xé€y".encode(), b"\x1b\x1b[Aq"])
def test_pieces_may_end_anywhere(data: bytes) -> None:
    whole = KeyDecoder().feed(data)
    for cut in range(1, len(data)):
        decoder = KeyDecoder()
        assert decoder.feed(data[:cut]) + decoder.feed(data[cut:]) == whole
        assert not decoder.is_amid_sequence


def test_an_escape_waits_for_what_follows() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.is_amid_sequence
    assert decoder.end_of_sequence() == [Keys(("esc",))]
    assert not decoder.is_amid_sequence


def test_each_key_is_one_of_the_keyboards() -> None:
    keyboard = Keyboard()
    decoder = KeyDecoder()
    sequences = [bytes([byte]) for byte in range(0x80)]
    sequences += [b"\x1b[%d~" % number for number in range(40)] + [b"\x1b[%c" % final for final in range(0x40, 0x7B)]
    for sequence in sequences:
        for keys in decoder.feed(sequence) + decoder.end_of_sequence():
            assert isinstance(keys, Keys | Unknown)
            for name in keys.names if isinstance(keys, Keys) else ():
                keyboard.press(name)  # raises UnknownKey
                keyboard.release(name)
