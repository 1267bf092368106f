"""Expressions as the monitor takes them: numbers, registers behind $, C's operators; QEMU's precedences."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from bt.errors import BadUsage
from bt.machine import Machine
from bt.monitor.command import CommandError

_MASK = (1 << 64) - 1
_TOKEN = re.compile(r"\s*(0[xX][0-9a-fA-F]+|\d+|'(?:\\.|[^'])'|\$[\w.]+|[-+*/%&|^~()])")
_SYNONYMS = {"pc": "eip", "sp": "esp", "fp": "ebp"}
_Operators = dict[str, Callable[[int, int], int]]


def _divide(a: int, b: int) -> int:
    if not b:
        raise CommandError("division by zero")
    return a // b


def _remainder(a: int, b: int) -> int:
    return a - b * _divide(a, b)


# from what binds least
_LEVELS: tuple[_Operators, ...] = (
    {"+": operator.add, "-": operator.sub},
    {"&": operator.and_, "|": operator.or_, "^": operator.xor},
    {"*": operator.mul, "/": _divide, "%": _remainder},
)


class _Parser:
    def __init__(self, pc: Machine, text: str) -> None:
        self._pc = pc
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise CommandError(f"invalid char '{text[at:].lstrip()[:1]}' in expression")
            self._tokens.append(match[1])
            at = match.end()
        self._tokens.append("")

    def value(self) -> int:
        found = self._level(0)
        if self._tokens[0]:
            raise CommandError(f"extraneous characters at the end of expression: '{self._tokens[0]}'")
        return found

    def _level(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._unary()
        value = self._level(level + 1)
        while (token := self._tokens[0]) in _LEVELS[level]:
            self._tokens.pop(0)
            value = _LEVELS[level][token](value, self._level(level + 1)) & _MASK
        return value

    def _unary(self) -> int:
        token = self._tokens.pop(0) if self._tokens[0] else ""
        if token == "+":
            return self._unary()
        if token == "-":
            return -self._unary() & _MASK
        if token == "~":
            return ~self._unary() & _MASK
        if token == "(":
            value = self._level(0)
            if self._tokens.pop(0) != ")":
                raise CommandError("')' expected")
            return value
        if token.startswith("$"):
            return self._register(token[1:])
        if token.startswith("'"):
            return ord(token[1:-1].removeprefix("\\"))
        if not token or not token[0].isdigit():
            raise CommandError("unexpected end of expression" if not token else f"unexpected '{token}'")
        return int(token, 8 if re.fullmatch("0[0-7]+", token) else 0)

    def _register(self, name: str) -> int:
        name = _SYNONYMS.get(name, name)
        base, _, part = name.partition(".")
        try:
            if part:
                return int(getattr(self._pc.reg[base], part))
            return int(getattr(self._pc.reg, name))
        except (BadUsage, AttributeError):
            raise CommandError("unknown register") from None


def evaluate(pc: Machine, text: str) -> int:
    """The value, of 64 bits. Raises CommandError."""
    return _Parser(pc, text).value()
