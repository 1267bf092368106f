"""What a terminal sends when somebody types, as keys of a PC's keyboard.

XTerm Control Sequences ("PC-Style Function Keys", "VT220-Style Function Keys"), console_codes(4) for Linux's own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from bt.console.mux import ESC
from bt.devices.input.us_layout import NoSuchKey, keys_of

FINALS = {
    "A": "up", "B": "down", "C": "right", "D": "left", "E": "kp_5", "F": "end", "H": "home",
    "P": "f1", "Q": "f2", "R": "f3", "S": "f4", "M": "kp_enter",
}  # fmt: skip
NUMBERS = {
    1: "home", 2: "insert", 3: "delete", 4: "end", 5: "pgup", 6: "pgdn", 7: "home", 8: "end",
    **dict(zip((11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 23, 24), (f"f{n}" for n in range(1, 13)), strict=True)),
}  # fmt: skip
LINUX_F1_TO_F5 = dict(zip("ABCDE", (f"f{n}" for n in range(1, 6)), strict=True))
CONTROL_OF = {"\0": "spc", "\x1c": "backslash", "\x1d": "bracket_right", "\x1e": "6", "\x1f": "minus"}
MODIFIERS = ((1, "shift"), (4, "ctrl"), (2, "alt"))  # bits of the parameter less one

_SEQUENCE = re.compile(
    rb"\[\[(?P<linux>[A-E])|\[(?P<parameters>[0-9;?]*)(?P<csi>[@-Z\\-~])|O(?P<modifier>\d?)(?P<ss3>[A-Z])"
)
_UNFINISHED = re.compile(rb"\[\[?[0-9;?]*$|O\d?$")


class Keys(NamedTuple):
    """Keys to press together, in this order."""

    names: tuple[str, ...]


class Unknown(NamedTuple):
    """A character that is on no key."""

    character: str


class KeyDecoder:
    """Takes what was typed as it comes, in pieces that may end anywhere.

    An ESC that nothing follows is a key once `end_of_sequence` says that nothing will; one that a character follows is
    Alt. A sequence that no key sends is dropped.
    """

    def __init__(self) -> None:
        self._rest = b""

    @property
    def is_amid_sequence(self) -> bool:
        """Something waits for what follows."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Keys | Unknown]:
        """The keys that are complete."""
        data, self._rest = self._rest + data, b""
        found: list[Keys | Unknown] = []
        at = 0
        while at < len(data):
            length, keys = self._one(data, at)
            if not length:
                self._rest = data[at:]
                break
            found += keys
            at += length
        return found

    def end_of_sequence(self) -> list[Keys | Unknown]:
        """What waits is all there is: keys that were pressed one by one."""
        rest, self._rest = self._rest, b""
        found: list[Keys | Unknown] = []
        while rest:
            if rest[0] == ESC and len(rest) > 1 and rest[1] != ESC:
                found += _with_alt(_characters(rest[1:2]))
                rest = rest[2:]
            else:
                found += _characters(rest[:1])
                rest = rest[1:]
        return found

    def _one(self, data: bytes, at: int) -> tuple[int, list[Keys | Unknown]]:
        """The length and the keys of what begins there; 0 if it is not complete."""
        if data[at] != ESC:
            length = _utf8_length(data[at])
            return (length, _characters(data[at : at + length])) if at + length <= len(data) else (0, [])
        if at + 1 == len(data) or _UNFINISHED.match(data, at + 1):
            return 0, []
        sequence = _SEQUENCE.match(data, at + 1)
        if sequence is not None:
            return 1 + len(sequence[0]), _of_sequence(sequence)
        length, keys = self._one(data, at + 1)
        return (1 + length, _with_alt(keys)) if length else (0, [])


def _characters(data: bytes) -> list[Keys | Unknown]:
    character = data.decode("utf-8", "replace")
    if character in CONTROL_OF:
        return [Keys(("ctrl", CONTROL_OF[character]))]
    try:
        return [Keys(keys_of(character))]
    except NoSuchKey:
        return [Unknown(character)]


def _utf8_length(first: int) -> int:
    """Of the character that begins with this byte."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


def _with_alt(found: list[Keys | Unknown]) -> list[Keys | Unknown]:
    return [Keys(("alt", *each.names)) if isinstance(each, Keys) else each for each in found]


def _of_sequence(sequence: re.Match[bytes]) -> list[Keys | Unknown]:
    parts = {name: value.decode() for name, value in sequence.groupdict().items() if value is not None}
    if "linux" in parts:
        return [Keys((LINUX_F1_TO_F5[parts["linux"]],))]
    numbers = [int(number) for number in re.findall(r"\d+", parts.get("parameters", ""))]
    if parts.get("csi") == "Z":
        return [Keys(("shift", "tab"))]
    if parts.get("csi") == "~":
        key = NUMBERS.get(numbers[0]) if numbers else None
    else:
        key = FINALS.get(parts.get("csi") or parts["ss3"])
    if key is None:
        return []
    bits = (numbers[1] if len(numbers) > 1 else int(parts.get("modifier") or 1)) - 1
    return [Keys((*(name for bit, name in MODIFIERS if bits & bit), key))]
