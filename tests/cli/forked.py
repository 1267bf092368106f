"""Commands of bt, each in a process of its own that is forked from one with bt imported: a start takes 0.4 s of CPU.

What is the process's own is as if it had been started: descriptors, environment, directory, signals, status, and how
the interpreter goes down. What a start imports, tests/cli/test_images.py looks at.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from threading import Thread
from typing import IO

MODULES = ("bt.cli.main", "bt.cli.qemu.main")  # whose `main` can be asked for
IMPORTED = ("bt.cli.run", "bt.cli.stats", "bt.cli.console", "bt.engine.translator.vcpu", "guest_images")
REQUEST_BYTES = 1 << 18


class Forked:
    """The process that forks, as long as this one lives."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def run(
        self, module: str, arguments: Sequence[str], stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """What `python -m module arguments` does, as subprocess.run has it; `stdin` is less than a pipe takes."""
        (into, given), (said, out), (told, err) = os.pipe(), os.pipe(), os.pipe()
        with os.fdopen(given, "w") as file:
            file.write(stdin)
        request = {"module": module, "arguments": list(arguments), "in": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(self._link, [json.dumps(request).encode()], [into, out, err])
        for descriptor in (into, out, err):
            os.close(descriptor)
        readers = [Reader(os.fdopen(descriptor)) for descriptor in (said, told)]
        self._link.settimeout(timeout)
        pid = int(self._link.recv(16))
        try:
            status = int(self._link.recv(16))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._link.settimeout(None)
            self._link.recv(16)
            raise subprocess.TimeoutExpired([module, *arguments], timeout) from None
        return subprocess.CompletedProcess([module, *arguments], status, *(reader.all() for reader in readers))


class Reader(Thread):
    """Reads what a process says, while it says it."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(daemon=True)
        self._file, self._text = file, ""
        self.start()

    def run(self) -> None:
        with self._file as file:
            self._text = file.read()

    def all(self) -> str:
        self.join()
        return self._text


@cache
def forked() -> Forked:
    """The one of this process."""
    return Forked()


def serve(link: socket.socket) -> int:
    """Fork as asked until nobody is left to ask; in the processes forked, what their program answers."""
    programs: dict[str, Callable[[Sequence[str]], int]] = {name: import_module(name).main for name in MODULES}
    for name in IMPORTED:
        import_module(name)
    while True:
        data, descriptors, _, _ = socket.recv_fds(link, REQUEST_BYTES, 3)
        if not data:
            return 0
        request = json.loads(data)
        pid = os.fork()
        if pid == 0:
            link.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.chdir(request["in"])
            os.environ.clear()
            os.environ.update(request["environment"])
            return programs[request["module"]](request["arguments"])
        for descriptor in descriptors:
            os.close(descriptor)
        link.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        link.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    raise SystemExit(serve(socket.socket(fileno=int(sys.argv[1]))))
