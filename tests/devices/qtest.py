"""QEMU as the oracle of devices: its processor stopped, its ports and memory driven through the qtest socket."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from socket import AF_UNIX, socket
from time import monotonic, sleep
from types import TracebackType
from typing import Any

import pytest

QEMU = "qemu-system-i386"
MACHINE = ("-machine", "pc", "-nodefaults", "-m", "64", "-rtc", "base=2000-01-01T00:00:00")
needs_qemu = pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed")

_SUFFIX = {1: "b", 2: "w", 4: "l", 8: "q"}
QMP_SECONDS = 20


class Qemu:
    """One QEMU; `with` ends it. Its virtual time stands."""

    def __init__(self, *arguments: str, qmp: bool = False) -> None:
        """`arguments` follow -accel tcg and replace `MACHINE` if given."""
        self._directory = tempfile.TemporaryDirectory()
        self._qmp_path = Path(self._directory.name, "qmp")
        with_qmp = ["-qmp", f"unix:{self._qmp_path},server=on,wait=off"] if qmp else []
        self.process = subprocess.Popen(
            [QEMU, "-accel", "tcg", "-S", "-display", "none", "-serial", "null", "-qtest", "stdio",
             *(arguments or MACHINE), *with_qmp],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._qmp: socket | None = None
        self._reset_seen = False

    def __enter__(self) -> "Qemu":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._qmp is not None:
            self._qmp.close()
        self.process.kill()
        self.process.communicate()
        self._directory.cleanup()

    def ask(self, command: str) -> list[str]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            status, *answer = line.split()
            if status in ("OK", "FAIL"):  # other lines report interrupts
                assert status == "OK", line
                return answer
        raise EOFError(f"{QEMU} went away at: {command}")

    def ask_all(self, commands: list[str]) -> list[list[str]]:
        """The answers to many commands, which are sent together: ten times as fast."""
        assert self.process.stdin
        assert self.process.stdout
        answers: list[list[str]] = []
        for start in range(0, len(commands), 100):  # what fits into a pipe
            part = commands[start : start + 100]
            self.process.stdin.write("".join(f"{command}\n" for command in part))
            self.process.stdin.flush()
            wanted = len(answers) + len(part)
            while len(answers) < wanted:
                line = self.process.stdout.readline()
                if not line:
                    raise EOFError(f"{QEMU} went away")
                status, *answer = line.split()
                if status in ("OK", "FAIL"):
                    assert status == "OK", line
                    answers.append(answer)
        return answers

    def port_in(self, port: int, size: int = 1) -> int:
        return int(self.ask(f"in{_SUFFIX[size]} {port:#x}")[0], 16)

    def port_out(self, port: int, value: int, size: int = 1) -> None:
        self.ask(f"out{_SUFFIX[size]} {port:#x} {value:#x}")

    def inb(self, port: int) -> int:
        return self.port_in(port)

    def outb(self, port: int, value: int) -> None:
        self.port_out(port, value)

    def read(self, address: int, size: int) -> int:
        return int(self.ask(f"read{_SUFFIX[size]} {address:#x}")[0], 16)

    def write(self, address: int, size: int, value: int) -> None:
        self.ask(f"write{_SUFFIX[size]} {address:#x} {value:#x}")

    def read_bytes(self, address: int, length: int) -> bytes:
        return bytes.fromhex(self.ask(f"read {address:#x} {length:#x}")[0][2:]) if length else b""  # it aborts on none

    def write_bytes(self, address: int, data: bytes) -> None:
        for start in range(0, len(data), 4096):
            part = data[start : start + 4096]
            self.ask(f"write {address + start:#x} {len(part):#x} 0x{part.hex()}")

    def qmp(self, command: str, **arguments: Any) -> Any:
        """What the QMP command returns."""
        if self._qmp is None:
            self._qmp = self._connected()
            self._answers = self._qmp.makefile("r")
            self._answers.readline()  # the greeting
            self.qmp("qmp_capabilities")
        self._qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        for line in self._answers:
            answer = json.loads(line)
            if answer.get("event") == "RESET":
                self._reset_seen = True
            if "return" in answer or "error" in answer:
                assert "return" in answer, answer
                return answer["return"]
        raise EOFError(f"{QEMU} went away at: {command}")

    def _connected(self) -> socket:
        give_up = monotonic() + QMP_SECONDS
        while True:
            connection = socket(AF_UNIX)
            connection.settimeout(QMP_SECONDS)
            try:
                connection.connect(str(self._qmp_path))
                return connection
            except OSError:  # not there yet, or nobody listens yet
                connection.close()
                if monotonic() > give_up:
                    raise
                sleep(0.01)

    def reset(self) -> None:
        """The machine's reset, done when this returns."""
        self.qmp("system_reset")
        if not self._reset_seen:
            for line in self._answers:
                if json.loads(line).get("event") == "RESET":
                    break
        self._reset_seen = False

    def screendump(self) -> tuple[int, int, bytes]:
        """Width, height and the RGB bytes of the screen."""
        path = Path(self._directory.name, "screen.ppm")
        self.qmp("screendump", filename=str(path))
        data = path.read_bytes()
        magic, size, depth, pixels = data.split(b"\n", 3)
        assert (magic, depth) == (b"P6", b"255")
        width, height = map(int, size.split())
        return width, height, pixels
