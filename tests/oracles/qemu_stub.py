"""One processor of QEMU's emulator, stopped after reset, by its debugger's stub: state in, one step, state out.

Segment registers take what selectors mean in the mode of the moment: paragraphs, or descriptors from the GDT.
"""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

QEMU = shutil.which("qemu-system-i386")
# The stub's register numbers (QEMU's i386-32bit.xml)
REGISTERS = (
    *("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags", "cs", "ss", "ds", "es", "fs", "gs"),
    *("fs_base", "gs_base", "k_gs_base", "cr0"),
)
_TIMEOUT_SECONDS = 20
_REGISTER = re.compile(r"\b(E[A-Z]{2}|CR0)=([0-9a-f]{8})")
_SEGMENT = re.compile(r"^([CDEFGS]S) =([0-9a-f]{4}) ([0-9a-f]{8})", re.MULTILINE)
_TABLE = re.compile(r"^([GI]DT)= *([0-9a-f]{8}) ([0-9a-f]{8})", re.MULTILINE)
_LEVEL = re.compile(r"\bCPL=(\d)")
_RENAMED = {"efl": "eflags"}


class QemuStub:
    """A running QEMU, to be closed."""

    def __init__(self, folder: Path) -> None:
        """`folder`: an empty one for the socket."""
        path = folder / "stub"
        self._process = subprocess.Popen(
            f"{QEMU} -accel tcg -S -display none -serial none -monitor none -m 16 -no-reboot "
            f"-chardev socket,id=stub,path={path},server=on,wait=off -gdb chardev:stub".split(),
            stdin=subprocess.DEVNULL,
        )
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_TIMEOUT_SECONDS)
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._buffer = b""
        self._command("qXfer:features:read:target.xml:0,ffb")  # only who knows the registers may write single ones
        self._command("Qqemu.sstep=7")  # no interrupts, no timers

    def close(self) -> None:
        """End QEMU."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def write(self, address: int, data: bytes) -> None:
        """Store bytes in memory."""
        for at in range(0, len(data), 1024):
            part = data[at : at + 1024]
            assert self._command(f"M{address + at:x},{len(part):x}:{part.hex()}") == "OK"

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        return bytes.fromhex(self._command(f"m{address:x},{size:x}"))

    def set_registers(self, values: Mapping[str, int]) -> None:
        """Registers of REGISTERS; selectors come with base and limit as MOV to a segment register has it."""
        for name, value in values.items():
            number = REGISTERS.index(name)
            assert self._command(f"P{number:x}={struct.pack('<I', value).hex()}") == "OK"

    def step(self) -> None:
        """Execute one instruction, or deliver the exception that it raises."""
        self._command("s")

    def registers(self) -> dict[str, int]:
        """General registers, EIP, EFLAGS, selectors, `ds.base` and the like, `cr0`, `gdtr_base`, `gdtr_limit`..."""
        text = self._monitor("info registers")
        found = {_RENAMED.get(name.lower(), name.lower()): int(value, 16) for name, value in _REGISTER.findall(text)}
        if (level := _LEVEL.search(text)) is not None:
            found["cpl"] = int(level[1])
        for name, selector, base in _SEGMENT.findall(text):
            found[name.lower()], found[f"{name.lower()}.base"] = int(selector, 16), int(base, 16)
        for name, base, limit in _TABLE.findall(text):
            found[f"{name.lower()}r_base"], found[f"{name.lower()}r_limit"] = int(base, 16), int(limit, 16)
        return found

    def _monitor(self, command: str) -> str:
        self._send(f"qRcmd,{command.encode().hex()}")
        text = ""
        while (answer := self._receive()) != "OK":
            text += bytes.fromhex(answer.removeprefix("O")).decode()
        return text

    def _command(self, text: str) -> str:
        self._send(text)
        return self._receive()

    def _send(self, text: str) -> None:
        data = text.encode()
        self._socket.sendall(b"$" + data + b"#" + f"{sum(data) & 0xFF:02x}".encode())

    def _receive(self) -> str:
        """The next packet, acknowledged."""
        while (match := re.search(rb"\$([^#]*)#..", self._buffer)) is None:
            data = self._socket.recv(1 << 16)
            assert data, "QEMU has gone away"
            self._buffer += data
        self._buffer = self._buffer[match.end() :]
        self._socket.sendall(b"+")
        return match[1].decode()
