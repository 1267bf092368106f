"""Whom a person talks with by text: a serial port, the monitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bt.devices.serial.uart16550 import Uart16550
from bt.machine import Machine

BACKSPACES, ENTERS, KILL_LINE = b"\b\x7f", b"\r\n", 0x15


class SerialFront:
    """A serial port of the machine."""

    def __init__(self, machine: Machine, port: Uart16550, name: str = "serial port") -> None:
        self.name = name
        self._machine, self._port = machine, port

    def received(self, data: bytes) -> None:
        self._machine.post(lambda: self._port.receive(data))

    def send_break(self) -> None:
        self._machine.post(self._port.receive_break)

    def enter(self) -> None:
        pass

    def leave(self) -> None:
        pass


class Monitor(Protocol):
    """What executes commands about a machine, between two of its instructions."""

    def execute(self, line: str) -> str:
        """What there is to say about it, in whole lines."""


class MonitorFront:
    """The monitor's prompt: lines are edited here, and executed by the machine's thread.

    `monitor` is asked for when there is a line for it. `write` gets text for the person. `program` is who asks:
    programs wait for QEMU's prompt, too. Line feeds go with carriage returns: the terminal may be raw.
    """

    name = "monitor"

    def __init__(
        self, machine: Machine, write: Callable[[bytes], None], monitor: Callable[[], Monitor], program: str = "bt"
    ) -> None:
        self._machine, self._write, self._monitor = machine, write, monitor
        self._program, self._prompt = program, f"({program}) "
        self._line = bytearray()

    def greet(self) -> None:
        """Somebody new is there."""
        self._line.clear()
        self._show(f"{self._program} monitor - type 'help' for more information\n{self._prompt}")

    def enter(self) -> None:
        self._line.clear()
        self._show("\n" + self._prompt)

    def leave(self) -> None:
        self._show("\n")

    def send_break(self) -> None:
        """It has no line."""

    def received(self, data: bytes) -> None:
        for byte in data:
            if byte in ENTERS:
                self._show("\n")
                self._finish(bytes(self._line).decode("utf-8", "replace").strip())
                self._line.clear()
            elif byte in BACKSPACES:
                if self._line:
                    self._line.pop()
                    self._show("\b \b")
            elif byte == KILL_LINE:
                self._show("\b \b" * len(self._line))
                self._line.clear()
            elif byte >= 0x20:
                self._line.append(byte)
                self._write(bytes((byte,)))

    def say(self, text: str) -> None:
        """Lines that nobody has asked for."""
        self._show(text + "\n")

    def _finish(self, line: str) -> None:
        if not line:
            self._show(self._prompt)
            return
        self._machine.post(lambda: self._execute(line))

    def _execute(self, line: str) -> None:
        self._show(self._monitor().execute(line) + self._prompt)

    def _show(self, text: str) -> None:
        self._write(text.replace("\n", "\r\n").encode())
