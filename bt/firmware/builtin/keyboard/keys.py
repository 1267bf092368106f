"""Scan codes of set 1 to what INT 16h returns (IBM PS/2 BIOS Interface Technical Reference, "Keyboard")."""

from __future__ import annotations

from typing import NamedTuple

NONE = 0xFFFF  # the key says nothing with that shift


class Key(NamedTuple):
    """Scan code in the high byte, character in the low one, by what is held."""

    plain: int
    shift: int
    ctrl: int
    alt: int
    is_letter: bool = False  # Caps Lock means shift
    is_keypad: bool = False  # Num Lock does


def _letters() -> dict[int, Key]:
    found = {}
    for first, row in ((0x10, "qwertyuiop"), (0x1E, "asdfghjkl"), (0x2C, "zxcvbnm")):
        for code, letter in enumerate(row, first):
            high = code << 8
            lower, upper = ord(letter), ord(letter.upper())
            found[code] = Key(high | lower, high | upper, high | lower & 0x1F, high, is_letter=True)
    return found


def _digits() -> dict[int, Key]:
    ctrl = {"2": 0x0300, "6": 0x071E}
    found = {}
    for code, (digit, shifted) in enumerate(zip("1234567890", "!@#$%^&*()", strict=True), 2):
        high = code << 8
        found[code] = Key(high | ord(digit), high | ord(shifted), ctrl.get(digit, NONE), (code + 0x76) << 8)
    return found


def _signs() -> dict[int, Key]:
    table = (
        (0x0C, "-_", 0x0C1F, 0x8200), (0x0D, "=+", NONE, 0x8300), (0x1A, "[{", 0x1A1B, 0x1A00),
        (0x1B, "]}", 0x1B1D, 0x1B00), (0x27, ";:", NONE, 0x2700), (0x28, "'\"", NONE, 0x2800),
        (0x29, "`~", NONE, 0x2900), (0x2B, "\\|", 0x2B1C, 0x2B00), (0x33, ",<", NONE, 0x3300),
        (0x34, ".>", NONE, 0x3400), (0x35, "/?", NONE, 0x3500), (0x56, "\\|", NONE, NONE),
    )  # fmt: skip
    return {code: Key(code << 8 | ord(t[0]), code << 8 | ord(t[1]), ctrl, alt) for code, t, ctrl, alt in table}


def _functions() -> dict[int, Key]:
    keys = {code: Key(code << 8, code + 0x19 << 8, code + 0x23 << 8, code + 0x2D << 8) for code in range(0x3B, 0x45)}
    return keys | {0x57: Key(0x8500, 0x8700, 0x8900, 0x8B00), 0x58: Key(0x8600, 0x8800, 0x8A00, 0x8C00)}


KEYS: dict[int, Key] = {
    0x01: Key(0x011B, 0x011B, 0x011B, 0x0100),
    0x0E: Key(0x0E08, 0x0E08, 0x0E7F, 0x0E00),
    0x0F: Key(0x0F09, 0x0F00, 0x9400, 0xA500),
    0x1C: Key(0x1C0D, 0x1C0D, 0x1C0A, 0xA600),
    0x39: Key(0x3920, 0x3920, 0x3920, 0x3920),
    0x37: Key(0x372A, 0x372A, 0x9600, 0x3700),
    0x4A: Key(0x4A2D, 0x4A2D, 0x8E00, 0x4A00),
    0x4C: Key(0x4CF0, 0x4C35, 0x8F00, NONE, is_keypad=True),
    0x4E: Key(0x4E2B, 0x4E2B, 0x9000, 0x4E00),
    0x47: Key(0x4700, 0x4737, 0x7700, NONE, is_keypad=True),
    0x48: Key(0x4800, 0x4838, 0x8D00, NONE, is_keypad=True),
    0x49: Key(0x4900, 0x4939, 0x8400, NONE, is_keypad=True),
    0x4B: Key(0x4B00, 0x4B34, 0x7300, NONE, is_keypad=True),
    0x4D: Key(0x4D00, 0x4D36, 0x7400, NONE, is_keypad=True),
    0x4F: Key(0x4F00, 0x4F31, 0x7500, NONE, is_keypad=True),
    0x50: Key(0x5000, 0x5032, 0x9100, NONE, is_keypad=True),
    0x51: Key(0x5100, 0x5133, 0x7600, NONE, is_keypad=True),
    0x52: Key(0x5200, 0x5230, 0x9200, NONE, is_keypad=True),
    0x53: Key(0x5300, 0x532E, 0x9300, NONE, is_keypad=True),
    **_letters(),
    **_digits(),
    **_signs(),
    **_functions(),
}
# behind a prefix of E0h: the grey ones of cursor keys say E0h as their character
EXTENDED: dict[int, Key] = {
    0x1C: Key(0xE00D, 0xE00D, 0xE00A, 0xA600),
    0x35: Key(0xE02F, 0xE02F, 0x9500, 0xA400),
    **{
        code: Key(code << 8 | 0xE0, code << 8 | 0xE0, KEYS[code].ctrl | 0xE0, code + 0x50 << 8)
        for code in (0x47, 0x48, 0x49, 0x4B, 0x4D, 0x4F, 0x50, 0x51, 0x52, 0x53)
    },
}
# keypad digits while Alt is held: a character by its number
KEYPAD_DIGITS = {
    0x52: 0, 0x4F: 1, 0x50: 2, 0x51: 3, 0x4B: 4, 0x4C: 5, 0x4D: 6, 0x47: 7, 0x48: 8, 0x49: 9,
}  # fmt: skip
