"""Character devices as QEMU spells them: -serial tcp::4444,server,nowait and -chardev socket,id=c,port=4444."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bt.chardev.chardev import Chardev, Choices
from bt.chardev.kinds import chardev
from bt.cli.options import pairs
from bt.errors import BadUsage

SPELLINGS = "stdio, file:PATH, pty, tcp:HOST:PORT, telnet:HOST:PORT, unix:PATH, null, mon:..., chardev:ID"
MULTIPLEXED = "mon:"
SCREEN = "vc"  # a console of QEMU's window
SWITCHES = {"server": "is_server", "wait": "waits", "telnet": "is_telnet", "append": "appends", "mux": "mux"}
VALUES = ("host", "path", "port")
WITHOUT_EFFECT = ("nodelay", "delay", "signal", "ipv4", "ipv6", "reconnect", "width", "height", "cols", "rows")


class Wanted(NamedTuple):
    """A character device, not open yet. `is_multiplexed`: several share it, and Ctrl-A is for the console."""

    device: Chardev
    is_multiplexed: bool


class Chardevs:
    """Those of a command line. Each method raises BadUsage, in one line, for what there is not."""

    def __init__(self, texts: Sequence[str], *, screen: str) -> None:
        """`texts`: the arguments of -chardev; `screen`: the kind that is meant by `vc`."""
        self._screen = screen
        self._named: dict[str, Wanted] = {}
        for text in texts:
            kind, *options = pairs(text)
            given = dict(options)
            name = given.pop("id", "")
            option = f"-chardev {text}"
            if not name:
                raise BadUsage(f"{option}: id= is missing")
            if name in self._named:
                raise BadUsage(f"{option}: there is one called {name} already")
            self._named[name] = self._made(option, name, kind[0], given)

    def wanted(self, option: str, name: str, text: str) -> Wanted:
        """What an option such as -serial names; `name` is what QEMU calls it."""
        kind, _, rest = text.partition(":")
        spelled = f"{option} {text}"
        if text.startswith(MULTIPLEXED):
            return self.wanted(option, name, rest)._replace(is_multiplexed=True)
        match kind:
            case "chardev":
                if rest not in self._named:
                    raise BadUsage(f"{spelled}: no -chardev has id={rest}")
                return self._named[rest]
            case "none":
                return self._made(spelled, name, "null", {})
            case "file" if rest:
                return self._made(spelled, name, kind, {"path": rest})
            case "tcp" | "telnet" if rest:
                address, *flags = pairs(rest)
                host, colon, port = address[0].rpartition(":")
                if not colon:
                    raise BadUsage(f"{spelled}: HOST:PORT is wanted, such as {kind}:127.0.0.1:4444")
                given = {"host": host.strip("[]"), "port": port, "telnet": "on" if kind == "telnet" else "off"}
                return self._made(spelled, name, "socket", given | dict(flags))
            case "unix" if rest:
                address, *flags = pairs(rest)
                return self._made(spelled, name, "socket", {"path": address[0]} | dict(flags))
            case "stdio" | "pty" | "null" | "vc" if not rest or kind == SCREEN:
                return self._made(spelled, name, kind, {})
        raise BadUsage(f"{spelled}: there are {SPELLINGS}")

    def _made(self, option: str, name: str, kind: str, given: Mapping[str, str]) -> Wanted:
        kind = self._screen if kind == SCREEN else kind
        choices: Choices = {}
        is_multiplexed = False
        for key, value in given.items():
            if key == "nowait":
                choices["waits"] = False
            elif key == "mux":
                is_multiplexed = _is_on(option, key, value)
            elif key in SWITCHES:
                choices[SWITCHES[key]] = _is_on(option, key, value)  # type: ignore[literal-required]  # a table of them
            elif key == "port":
                choices["port"] = _port(option, value)
            elif key in VALUES:
                choices[key] = value  # type: ignore[literal-required]
            elif key not in WITHOUT_EFFECT:
                raise BadUsage(f"{option}: bt does not know {key}; there are {', '.join((*VALUES, *SWITCHES))}")
        if kind == "socket" and "path" not in choices and "port" not in choices:
            raise BadUsage(f"{option}: port= or path= is missing")
        if kind == "file" and "path" not in choices:
            raise BadUsage(f"{option}: path= is missing")
        return Wanted(chardev(kind, option, name, **choices), is_multiplexed)


def _is_on(option: str, name: str, value: str) -> bool:
    if value not in ("on", "off"):
        raise BadUsage(f"{option}: {name}={value}; on or off is wanted")
    return value == "on"


def _port(option: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 1 << 16):
        raise BadUsage(f"{option}: {value!r} is no port; a number from 1 to 65535 is wanted")
    return int(value)
