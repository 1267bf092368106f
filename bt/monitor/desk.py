"""Keyboard, mouse and screen: `sendkey`, `mouse_move`, `mouse_button`, `screendump`."""

from __future__ import annotations

from bt.api.keyboard import HOLD_MS
from bt.errors import BadUsage
from bt.machine import Machine
from bt.monitor.command import Command, CommandError, number, words

_LEFT, _MIDDLE, _RIGHT = 1, 2, 4  # as the monitor counts


def _send_key(pc: Machine, rest: str) -> str:
    keys, *hold = words(rest, 1, 2, "keys and how long, in ms")
    try:
        pc.keyboard.keys(keys, hold_ms=number(hold[0]) if hold else HOLD_MS)
    except BadUsage:
        raise CommandError(f"invalid parameter: {keys}") from None
    return ""


def _mouse_move(pc: Machine, rest: str) -> str:
    pc.mouse.move(*(number(word) for word in words(rest, 2, 3, "dx dy [dz]")))
    return ""


def _mouse_button(pc: Machine, rest: str) -> str:
    (state,) = words(rest, 1, 1, "a state")
    held = number(state)
    pc.mouse.buttons(left=bool(held & _LEFT), middle=bool(held & _MIDDLE), right=bool(held & _RIGHT))
    return ""


def _screen_dump(pc: Machine, rest: str) -> str:
    if not rest.strip():
        raise CommandError("screendump: a file is wanted")
    pc.screen.save(rest.strip())
    return ""


COMMANDS = (
    Command(("sendkey",), "keys [hold_ms]", "send keys to the VM, such as ctrl-alt-f1, held for 100 ms",
            _send_key),
    Command(("mouse_move",), "dx dy [dz]", "send mouse move events", _mouse_move),
    Command(("mouse_button",), "state", "change mouse button state (1=L, 2=M, 4=R)", _mouse_button),
    Command(("screendump",), "filename", "save screen into PPM image 'filename', or another kind by its suffix",
            _screen_dump),
)  # fmt: skip
