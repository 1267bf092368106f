"""A session with a guest: what a person sees and types, as a table of steps that any VM can be taken through."""

from __future__ import annotations

import itertools
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

STEP_SECONDS = 400  # of the host, in which a step must come true
CLOCK_TOLERANCE = 0.01
PROMPT = r"\n\S*# (\x1b\[6n)?$"  # a shell's, at the end of what has come; BusyBox asks the terminal where it is


class Vm(Protocol):
    """What a session needs of a virtual machine."""

    serial: bytearray
    """Everything that COM1 has sent."""
    tsc_mhz: float
    """What its time stamp counter counts in a microsecond."""

    def go_on(self) -> None:
        """Let the guest run for a moment: a tenth of a second, less if it says something."""

    def send(self, data: bytes) -> None:
        """Give COM1 characters to receive."""

    def screen(self) -> list[str]:
        """The lines of the text on the screen; none in graphics modes."""

    def press(self, key: str) -> None:
        """Press and release a key, by its name in QEMU's `sendkey`: "a", "ret", "shift-a"."""

    def screenshot(self, path: Path) -> None:
        """Write what the screen shows as a PPM file."""

    def status(self) -> int | None:
        """The exit status, None while the guest runs."""

    def close(self) -> None:
        """End it."""


class Failed(AssertionError):
    """A step that did not come true, with what there was instead."""


@dataclass(frozen=True)
class Serial:
    """Something matches in what COM1 has sent since the last match."""

    pattern: str


@dataclass(frozen=True)
class Screen:
    """Something matches in the text on the screen, lines joined by newlines, trailing spaces gone."""

    pattern: str


@dataclass(frozen=True)
class WholeScreen:
    """The screen is this text, line by line; a ~ in it stands for any character, and lines may be longer by spaces."""

    text: str


@dataclass(frozen=True)
class Clock:
    """On the screen a number matches, in group 1: megahertz, within 1 % of what the VM's time stamp counter counts."""

    pattern: str


@dataclass(frozen=True)
class Send:
    """Characters to COM1."""

    text: str


@dataclass(frozen=True)
class Keys:
    """Text to type, newlines included, each character once the one before it is on the screen.

    A loader that is busy for a second loses keys when its buffer is full, and no person types on without looking.
    """

    text: str


@dataclass(frozen=True)
class Press:
    """Keys by name, separated by spaces."""

    names: str


@dataclass(frozen=True)
class Run:
    """A command to a shell on COM1; `pattern` matches in what it prints before the next prompt. Empty: anything."""

    command: str
    pattern: str = ""


@dataclass(frozen=True)
class Shot:
    """A screenshot, kept under this name."""

    name: str


@dataclass(frozen=True)
class Ends:
    """The VM ends with this status."""

    status: int = 0


Step = Serial | Screen | WholeScreen | Clock | Send | Keys | Press | Run | Shot | Ends


@dataclass(frozen=True)
class Session:
    """`arguments`: a command line in QEMU's spelling, {names} of images in it.

    `needs`: images by the name in the arguments: how each is had, given a directory for what the guest may write.
    `qemu_needs`: those of them that QEMU cannot take as they are.
    `after`: looks at that directory when the VM has ended.
    """

    name: str
    arguments: str
    steps: Sequence[Step]
    needs: Mapping[str, Callable[[Path], Path]] = field(default_factory=dict)
    qemu_needs: Mapping[str, Callable[[Path], Path]] = field(default_factory=dict)
    after: Callable[[Path], None] = lambda scratch: None

    def command_line(self, scratch: Path, *, qemu: bool = False) -> list[str]:
        needs = {**self.needs, **self.qemu_needs} if qemu else self.needs
        paths = {name: str(make(scratch)) for name, make in needs.items()}
        return [word.format(**paths) for word in shlex.split(self.arguments)]


KEY_NAMES = {
    " ": "spc", "\n": "ret", "\t": "tab", "\x1b": "esc", "/": "slash", "\\": "backslash", ".": "dot", ",": "comma",
    "-": "minus", "_": "shift-minus", "=": "equal", "+": "shift-equal", ";": "semicolon", ":": "shift-semicolon",
    "'": "apostrophe", '"': "shift-apostrophe", "(": "shift-9", ")": "shift-0", "*": "shift-8", "$": "shift-4",
    "&": "shift-7", "|": "shift-backslash", ">": "shift-dot", "<": "shift-comma", "!": "shift-1", "#": "shift-3",
    "[": "bracket_left", "]": "bracket_right",
}  # fmt: skip


def key_name(character: str) -> str:
    """The key that types a character on a US keyboard."""
    if character.isascii() and character.isalnum():
        return f"shift-{character.lower()}" if character.isupper() else character
    return KEY_NAMES[character]


class Player:
    """Takes a VM through the steps of a session."""

    def __init__(self, vm: Vm, shots: Path, patience: float = STEP_SECONDS) -> None:
        self._vm = vm
        self._shots = shots
        self._patience = patience
        self._seen = 0  # of the serial output

    def play(self, steps: Sequence[Step]) -> None:
        for number, step in enumerate(steps):
            try:
                self._do(step)
            except Failed as error:
                raise Failed(f"step {number}, {step}: {error}") from None

    def _do(self, step: Step) -> None:
        match step:
            case Serial(pattern):
                self._expect(pattern)
            case Screen(pattern):
                self._until(lambda: re.search(pattern, _text(self._vm.screen()), re.MULTILINE) is not None)
            case WholeScreen(text):
                self._until(lambda: differences(text, _text(self._vm.screen())) == "")
            case Clock(pattern):
                self._check_clock(pattern)
            case Send(text):
                self._vm.send(text.encode("latin-1"))
            case Keys(text):
                self._type(text)
            case Press(names):
                for name in names.split():
                    self._vm.press(name)
            case Run(command, pattern):
                self._run(command, pattern)
            case Shot(name):
                self._vm.screenshot(self._shots / f"{name}.ppm")
            case Ends(status):
                self._until(lambda: self._vm.status() is not None)
                if self._vm.status() != status:
                    raise Failed(f"it ended with {self._vm.status()}; {self._what_there_is()}")

    def _check_clock(self, pattern: str) -> None:
        found = re.search(pattern, _text(self._vm.screen()), re.MULTILINE)
        if found is None or abs(float(found[1]) / self._vm.tsc_mhz - 1) > CLOCK_TOLERANCE:
            raise Failed(f"the time stamp counter counts {self._vm.tsc_mhz} MHz; {self._what_there_is()}")

    def _type(self, text: str) -> None:
        typed = ""
        for character in text:
            self._vm.press(key_name(character))
            typed = "" if character == "\n" else typed + character
            if typed:
                self._until(partial(self._shows, typed))

    def _shows(self, text: str) -> bool:
        return text in "".join(self._vm.screen())

    def _expect(self, pattern: str) -> str:
        """What has come up to the end of the match."""
        found: list[re.Match[str]] = []

        def arrived() -> bool:
            new = self._vm.serial[self._seen :].decode("latin-1").replace("\r", "")
            found.extend(match for match in [re.search(pattern, new)] if match)
            return bool(found)

        self._until(arrived)
        text = self._vm.serial[self._seen :].decode("latin-1")
        self._seen += _raw_length(text, found[0].end())
        return found[0].string[: found[0].end()]

    def _run(self, command: str, pattern: str) -> None:
        self._vm.send(command.encode("latin-1") + b"\n")
        output = self._expect(PROMPT)
        if not re.search(pattern, output.replace(command, "", 1)):
            raise Failed(f"it printed {output!r}")

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._patience
        while not condition():
            if self._vm.status() is not None and not condition():
                if condition():
                    return
                raise Failed(f"the VM has ended with {self._vm.status()}; {self._what_there_is()}")
            if time.monotonic() > deadline:
                raise Failed(f"not within {self._patience} s; {self._what_there_is()}")
            self._vm.go_on()

    def _what_there_is(self) -> str:
        screen = _text(self._vm.screen()) if self._vm.status() is None else ""
        return f"on COM1: {bytes(self._vm.serial[-600:])!r}; on the screen:\n{screen.strip()}"


def _text(lines: Sequence[str]) -> str:
    return "\n".join(line.rstrip() for line in lines)


def differences(wanted: str, shown: str) -> str:
    """The lines of a screen that are not as wanted; a ~ in what is wanted stands for any character."""
    lines = itertools.zip_longest(wanted.splitlines(), shown.splitlines(), fillvalue="")
    return "".join(f"-{one}\n+{other}\n" for one, other in lines if not _is_like(one.rstrip(), other.rstrip()))


def _is_like(wanted: str, shown: str) -> bool:
    return all(one in ("~", other) for one, other in itertools.zip_longest(wanted, shown, fillvalue=" "))


def _raw_length(text: str, without_returns: int) -> int:
    """How much of a text there is up to so many characters that are no carriage returns."""
    left = without_returns
    for index, character in enumerate(text):
        if left == 0:
            return index
        left -= character != "\r"
    return len(text)
