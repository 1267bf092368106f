"""The kinds of character devices, by the names that QEMU's -chardev has for them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple, Unpack

from bt.chardev.chardev import Chardev, Choices
from bt.errors import BadUsage


class Kind(NamedTuple):
    """A row: where its class is, imported when it is asked for, and what it is to people."""

    module: str
    name: str
    summary: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "stdio": Kind("bt.chardev.stdio", "Stdio", "standard input and output"),
        "file": Kind("bt.chardev.file", "File", "a file"),
        "pty": Kind("bt.chardev.pseudo_terminal", "PseudoTerminal", "a pseudo-terminal, its name is said on stderr"),
        "socket": Kind("bt.chardev.sockets", "Socket", "a connection, TCP or of Unix; server or client, telnet or not"),
        "null": Kind("bt.chardev.null", "Null", "nobody"),
    }
)


def chardev(kind: str, option: str, name: str, **choices: Unpack[Choices]) -> Chardev:
    """One of that kind, not open yet. Raises BadUsage for what there is not, or what it does not take."""
    if kind not in KINDS:
        raise BadUsage(f"{option}: no kind of character device called {kind}; there are {', '.join(KINDS)}")
    row = KINDS[kind]
    made = getattr(import_module(row.module), row.name)
    for choice in choices:
        if choice not in made.takes:
            raise BadUsage(f"{option}: {kind} does not take {choice}")
    found = made(option, name, **choices)
    assert isinstance(found, Chardev)
    return found
