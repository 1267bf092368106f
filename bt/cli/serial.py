"""The guest's serial port as the user sees it: standard input and output, a file, or nothing."""

from __future__ import annotations

import os
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from bt.cli import signals
from bt.errors import BadUsage

if TYPE_CHECKING:
    from bt.machine import Machine

ESCAPE = 0x01  # Ctrl-A, as in QEMU
READ_BYTES = 4096

_Mode = list[Any]  # as termios has it


class SerialPort:
    """`--serial stdio|file:PATH|null`. Use as a context manager around the run; `send` is the machine's sink."""

    def __init__(self, specification: str) -> None:
        """Raises BadUsage for anything else, and for a file that cannot be written."""
        kind, _, path = specification.partition(":")
        self._interactive = specification == "stdio"
        self._cleanup = ExitStack()
        if self._interactive:
            if sys.stdout is None:  # bt was started so
                raise BadUsage("--serial stdio: standard output is closed; give --serial null or file:PATH")
            self._fd: int | None = sys.stdout.fileno()
        elif specification == "null":
            self._fd = None
        elif kind == "file" and path:
            self._fd = _open(path)
            self._cleanup.callback(os.close, self._fd)
        else:
            raise BadUsage(f"--serial {specification}: there are stdio, file:PATH and null")

    def send(self, byte: int) -> None:
        """A character from the guest, shown at once: a prompt has no newline at its end."""
        if self._fd is not None:
            os.write(self._fd, bytes((byte,)))

    @contextmanager
    def attached(self, machine: Machine) -> Iterator[None]:
        """While the guest runs, give it what arrives on standard input (stdio only)."""
        with self._cleanup:
            if self._interactive:
                _listen(machine, self._cleanup)
            yield


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BadUsage(f"--serial file:{path}: {error.strerror}") from error


def _listen(machine: Machine, cleanup: ExitStack) -> None:
    """Start reading standard input, if there is one that we may read."""
    try:
        fd = sys.stdin.fileno() if sys.stdin is not None else -1
        terminal = os.isatty(fd)
        # a job in the background that touches its terminal is stopped by the kernel
        if fd < 0 or (terminal and os.tcgetpgrp(fd) != os.getpgrp()):
            return
    except (OSError, ValueError):  # closed
        return
    if terminal:
        mode = termios.tcgetattr(fd)
        # not after what the guest has printed (TCSADRAIN): a terminal that is held up would hold up the signal
        cleanup.enter_context(signals.put_right_by(lambda: _set_mode(fd, termios.TCSANOW, mode)))
        cleanup.callback(_set_mode, fd, termios.TCSADRAIN, mode)
        _set_mode(fd, termios.TCSADRAIN, _one_character_at_a_time(mode))
    machine.input_open = True
    feed = Keyboard(machine).type if terminal else _wire(machine)
    threading.Thread(target=_read_until_end, args=(fd, machine, feed), name="bt-serial-input", daemon=True).start()


def _set_mode(fd: int, when: int, mode: _Mode) -> None:
    """tcsetattr, but for a terminal that has gone away, or is another job's: that would stop us."""
    with suppress(OSError, termios.error):
        if os.tcgetpgrp(fd) == os.getpgrp():
            termios.tcsetattr(fd, when, mode)


def _one_character_at_a_time(before: _Mode) -> _Mode:
    """No echo, no line editing, Enter is CR as on a terminal's wire. Ctrl-C still stops bt, output is left alone."""
    mode = [*before[:6], [*before[6]]]
    mode[0] &= ~(termios.ISTRIP | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    mode[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    return mode


def _read_until_end(fd: int, machine: Machine, feed: Callable[[bytes], None]) -> None:
    try:
        while data := os.read(fd, READ_BYTES):
            feed(data)
    except OSError:
        pass  # a terminal that has gone away: the same as the end

    def end() -> None:
        machine.input_open = False

    machine.post(end)


def _wire(machine: Machine) -> Callable[[bytes], None]:
    return lambda data: machine.post(lambda: machine.com1.receive(data))


class Keyboard:
    """A user's typing: Ctrl-A x leaves bt, Ctrl-A b sends a break, Ctrl-A Ctrl-A one Ctrl-A, as under QEMU."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._escaped = False

    def type(self, data: bytes) -> None:
        plain = bytearray()
        for character in data:
            if not self._escaped:
                self._escaped = character == ESCAPE
                if not self._escaped:
                    plain.append(character)
                continue
            self._escaped = False
            match character:
                case 0x01:
                    plain.append(ESCAPE)
                case 0x78 | 0x58:  # x X
                    self._machine.stop()
                case 0x62 | 0x42:  # b B
                    self._machine.post(self._machine.com1.receive_break)
                case _:
                    pass  # as QEMU does with what it does not know
        if plain:
            typed = bytes(plain)
            self._machine.post(lambda: self._machine.com1.receive(typed))
