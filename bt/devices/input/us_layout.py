"""Text as a person at a US keyboard types it."""

from collections.abc import Iterator

from bt.errors import BtError

_PLAIN = {
    " ": "spc", "\n": "ret", "\r": "ret", "\t": "tab", "\b": "backspace", "\x7f": "backspace", "\x1b": "esc",
    "-": "minus", "=": "equal", "[": "bracket_left", "]": "bracket_right", "\\": "backslash", ";": "semicolon",
    "'": "apostrophe", "`": "grave_accent", ",": "comma", ".": "dot", "/": "slash",
}  # fmt: skip
_SHIFTED = dict(zip('!@#$%^&*()_+{}|:"~<>?', "1234567890-=[]\\;'`,./", strict=True))


class NoSuchKey(BtError):
    """A character that a US keyboard does not have."""


def keys_of(character: str) -> tuple[str, ...]:
    """The keys pressed together for `character`, in this order; raises NoSuchKey."""
    if character in _SHIFTED:
        return "shift", *keys_of(_SHIFTED[character])
    if character in _PLAIN:
        return (_PLAIN[character],)
    if character.isascii() and character.isalnum():
        return ("shift", character.lower()) if character.isupper() else (character,)
    if 0 < ord(character) < 0x1B:
        return "ctrl", chr(ord(character) + 0x60)
    raise NoSuchKey(f"{character!r} is on no key of a US keyboard")


def strokes(text: str) -> Iterator[tuple[str, bool]]:
    """Keys by name with True for pressed and False for let go, as `text` is typed; raises NoSuchKey."""
    for character in text:
        keys = keys_of(character)
        yield from ((key, True) for key in keys)
        yield from ((key, False) for key in reversed(keys))
