"""The guest's serial ports as the user sees them: standard input and output, a file, or nothing."""

from __future__ import annotations

import os
import sys
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict

from bt.cli import signals
from bt.errors import BadUsage

if TYPE_CHECKING:
    from bt.devices.serial.uart16550 import Uart16550
    from bt.machine import Machine

ESCAPE = 0x01  # Ctrl-A, as in QEMU
READ_BYTES = 4096
PORTS = 2

_Mode = list[Any]  # as termios has it


class Sink:
    """Where the bytes go that a port sends: `stdio`, `file:PATH` or `null`. Use as a context manager around the run."""

    def __init__(self, option: str, specification: str) -> None:
        """Raises BadUsage for anything else, and for a file that cannot be written; `option` names it then."""
        kind, _, path = specification.partition(":")
        self.is_stdio = specification == "stdio"
        self._cleanup = ExitStack()
        self._fd: int | None = None
        if self.is_stdio:
            if sys.stdout is None:  # bt was started so
                raise BadUsage(f"{option} stdio: standard output is closed; give {option} null or file:PATH")
            self._fd = sys.stdout.fileno()
        elif kind == "file" and path:
            self._fd = _open(option, path)
            self._cleanup.callback(os.close, self._fd)
        elif specification != "null":
            raise BadUsage(f"{option} {specification}: there are stdio, file:PATH and null")

    def send(self, byte: int) -> None:
        """A character from the guest, shown at once: a prompt has no newline at its end."""
        if self._fd is not None:
            os.write(self._fd, bytes((byte,)))

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()


class Sinks(TypedDict, total=False):
    """Those arguments of `Machine` that take what guests send."""

    serial: Callable[[int], None]
    serial2: Callable[[int], None]
    console: Callable[[int], None]
    firmware_log: Callable[[int], None]


class SerialPorts:
    """What `--serial`, once or twice, says of COM1 and COM2. Use `attached` around the run."""

    def __init__(self, specifications: Sequence[str]) -> None:
        """At least one. Raises BadUsage for what there is not."""
        if len(specifications) > PORTS:
            raise BadUsage(f"--serial {specifications[PORTS]}: there are two ports, COM1 and COM2")
        if specifications.count("stdio") > 1:
            raise BadUsage("--serial stdio: COM1 has it already; give the other file:PATH or null")
        self.sinks = [Sink("--serial", each) for each in specifications]

    def senders(self) -> Sinks:
        """Where the ports that were named send to."""
        found = Sinks(serial=self.sinks[0].send)
        if len(self.sinks) == PORTS:
            found["serial2"] = self.sinks[1].send
        return found

    @contextmanager
    def attached(self, machine: Machine) -> Iterator[None]:
        """While the guest runs, give it what arrives on standard input (stdio only)."""
        with ExitStack() as cleanup:
            for sink, uart in zip(self.sinks, (machine.com1, machine.com2), strict=False):
                cleanup.enter_context(sink)
                if sink.is_stdio:
                    _listen(machine, uart, cleanup)
            yield


def _open(option: str, path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise BadUsage(f"{option} file:{path}: {error.strerror}") from error


def _listen(machine: Machine, uart: Uart16550, cleanup: ExitStack) -> None:
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
    feed = Keyboard(machine, uart).type if terminal else _wire(machine, uart)
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


def _wire(machine: Machine, uart: Uart16550) -> Callable[[bytes], None]:
    return lambda data: machine.post(lambda: uart.receive(data))


class Keyboard:
    """A user's typing: Ctrl-A x leaves bt, Ctrl-A b sends a break, Ctrl-A Ctrl-A one Ctrl-A, as under QEMU."""

    def __init__(self, machine: Machine, uart: Uart16550) -> None:
        self._machine, self._uart = machine, uart
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
                    self._machine.post(self._uart.receive_break)
                case _:
                    pass  # as QEMU does with what it does not know
        if plain:
            typed = bytes(plain)
            self._machine.post(lambda: self._uart.receive(typed))
