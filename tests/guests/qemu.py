"""A session's VM that is QEMU: the oracle that the sessions are written by."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAM, LONG_PROGRAM = "qemu-system-i386", "qemu-system-x86_64"
MOMENT_SECONDS = 0.1
KEY_SECONDS = 0.15  # a person who types well; a guest on a busy host must be able to follow
TEXT_WINDOW, TEXT_BYTES = 0xB8000, 0x8000


class Qemu:
    """QEMU without windows, COM1 on its standard input and output, its monitor on a socket."""

    def __init__(self, arguments: Sequence[str], directory: Path) -> None:
        monitor = directory / "qmp"
        program = LONG_PROGRAM if "qemu64" in arguments else PROGRAM
        command = [program, *arguments, "-display", "none", "-serial", "stdio", "-nic", "none", "-no-reboot"]
        command += ["-qmp", f"unix:{monitor},server=on,wait=off"]
        self.serial = bytearray()
        self.tsc_mhz = float(re.findall(r"cpu MHz\s*: ([0-9.]+)", Path("/proc/cpuinfo").read_text())[0])  # the host's
        self._memory = directory / "text-window"
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._monitor = connect(monitor, self._process)
        self._answers = self._monitor.makefile("rb")
        json.loads(self._answers.readline())
        self._command("qmp_capabilities")

    def go_on(self) -> None:
        if self._selector.select(MOMENT_SECONDS) and not self._receive():
            time.sleep(MOMENT_SECONDS)  # the end of its output: it is about to go

    def send(self, data: bytes) -> None:
        self._input.write(data)
        self._input.flush()

    def screen(self) -> list[str]:
        self._monitor_line("stop")
        try:
            if self._register(0x3CE, 6) & 1:
                return []
            columns, offset = self._register(0x3D4, 1) + 1, 2 * self._register(0x3D4, 0x13)
            start = self._register(0x3D4, 0x0C) << 8 | self._register(0x3D4, 0x0D)
            self._command("pmemsave", {"val": TEXT_WINDOW, "size": TEXT_BYTES, "filename": str(self._memory)})
        finally:
            self._monitor_line("cont")
        characters = self._memory.read_bytes()[::2] if self._memory.exists() else b" "
        rows = [range(start + row * offset, start + row * offset + columns) for row in range(25)]
        return ["".join(_character(characters[at % len(characters)]) for at in row) for row in rows]

    def press(self, key: str) -> None:
        self._monitor_line(f"sendkey {key} 20")
        time.sleep(KEY_SECONDS)

    def screenshot(self, path: Path) -> None:
        self._monitor_line(f"screendump {path}")

    def status(self) -> int | None:
        status = self._process.poll()
        if status is not None:
            self._receive()
        return status

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for each in (self._selector, self._answers, self._monitor, self._output):
            each.close()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    def _receive(self) -> bool:
        data = self._output.read() or b""
        self.serial += data
        return bool(data)

    def _register(self, port: int, index: int) -> int:
        """A register behind an index register, which gets its value back: the guest may be about to use it."""
        index_before = self._port(port)
        self._monitor_line(f"o /b {port:#x} {index:#x}")
        value = self._port(port + 1)
        self._monitor_line(f"o /b {port:#x} {index_before:#x}")
        return value

    def _port(self, port: int) -> int:
        found = re.search(r"= (0x[0-9a-f]+)", self._monitor_line(f"i /b {port:#x}"))
        return int(found[1], 16) if found else 0  # it has ended meanwhile

    def _monitor_line(self, line: str) -> str:
        return str(self._command("human-monitor-command", {"command-line": line}))

    def _command(self, name: str, arguments: dict[str, str | int] | None = None) -> object:
        request = {"execute": name, "arguments": arguments or {}}
        try:
            self._monitor.sendall(json.dumps(request).encode() + b"\n")
            while True:
                line = self._answers.readline()
                if not line:
                    return ""
                answer = json.loads(line)
                if "return" in answer or "error" in answer:
                    return answer.get("return", "")
        except (BrokenPipeError, ConnectionResetError):
            return ""  # it has ended meanwhile, which status() tells


def _character(code: int) -> str:
    return bytes([code]).decode("cp437") if code >= 0x20 else " "


def connect(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to a socket that a process is about to make. Raises OSError after 20 s, or once it has ended."""
    deadline = time.monotonic() + 20
    while True:
        monitor = socket.socket(socket.AF_UNIX)
        try:
            monitor.connect(str(path))
            return monitor
        except OSError:
            monitor.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
