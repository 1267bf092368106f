"""One processor of QEMU's emulator, stopped at its reset, by its debugger's stub: state in, one step, state out.

The stub speaks the GDB remote serial protocol over a pair of sockets that nobody else can reach. QEMU's own packets are
in its manual, "GDB usage": steps in which neither interrupts nor timers come, accesses by physical address.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from bt.errors import BtError
from bt.memory.ram import GuestRam
from bt.x86.state import GPR_NAMES

PROGRAM, LONG_MODE_PROGRAM = "qemu-system-i386", "qemu-system-x86_64"
NO_INTERRUPTS_NO_TIMERS = 7  # bits of Qqemu.sstep: step, without interrupts, without timers
DEFAULT_CPU = "qemu32"  # not that of an ISA PC, a 486
DEFAULT_MEMORY = 16 << 20
_TIMEOUT_SECONDS = 20
_ENDING_SECONDS = 1
_CHUNK = 1024  # bytes of memory in a packet
_DESCRIBED = re.compile(r'<reg name="(\w+)" bitsize="(\d+)"')
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_REGISTER = re.compile(r"\b([ER][A-Z]{2}|R[89]|R1[0-5]|CR[0234]|DR[0-7]|EFER|MXCSR|F[CST]W) *= ?([0-9a-f]+)")
_SEGMENT = re.compile(
    r"^(ES|CS|SS|DS|FS|GS|LDT|TR) *=([0-9a-f]{4}) ([0-9a-f]{8,16}) ([0-9a-f]{8}) ([0-9a-f]{8})", re.MULTILINE
)
_TABLE = re.compile(r"^([GI]DT)= *([0-9a-f]{8,16}) ([0-9a-f]{8})", re.MULTILINE)
_LEVEL = re.compile(r"\bCPL=(\d)")
# Registers have the same name whatever their width: that of 32 bits.
_RENAMED = {"efl": "eflags", "rfl": "eflags", "fcw": "fctrl", "fsw": "fstat", "ldt": "ldtr", "rip": "eip"}
_RENAMED |= {f"r{name[1:]}": name for name in GPR_NAMES}


class QemuMissing(BtError):
    """There is no QEMU here, or none that does what is asked of it."""


class QemuGone(BtError):
    """QEMU has ended: the guest has shut down or reset the machine, or somebody has killed it."""


def require(program: str = PROGRAM) -> None:
    """Raises QemuMissing unless QEMU is there."""
    if shutil.which(program) is None:
        raise QemuMissing(f"{program}: not installed here (on Debian, package qemu-system-x86)")


class _Slot(NamedTuple):
    """Where a register lies in the answer to `g`."""

    number: int
    at: int  # bytes
    size: int


class QemuStub:
    """A running QEMU, to be closed.

    Segment registers take what selectors mean in the mode of the moment: paragraphs, or descriptors from the GDT.
    """

    def __init__(
        self, *, memory: int | GuestRam = DEFAULT_MEMORY, cpu: str = DEFAULT_CPU, long_mode: bool = False
    ) -> None:
        """`memory`: bytes, or what QEMU is to have as its own; `cpu` as QEMU spells it; with `long_mode` its registers
        have 64 bits, and r8 to r15 are there. Raises QemuMissing.
        """
        program = LONG_MODE_PROGRAM if long_mode else PROGRAM
        require(program)
        ours, theirs = socket.socketpair()
        size = memory if isinstance(memory, int) else memory.size
        options = ["-machine", "isapc,accel=tcg", "-cpu", cpu, "-m", f"{size >> 10}K"]
        shared = [theirs.fileno()]
        if isinstance(memory, GuestRam):
            shared.append(memory.fd)
            path = f"/proc/self/fd/{memory.fd}"
            options[1] += ",memory-backend=ram"
            options += ["-object", f"memory-backend-file,id=ram,size={size},share=on,mem-path={path}"]
        options += ["-chardev", f"socket,id=stub,fd={theirs.fileno()}", "-gdb", "chardev:stub"]
        self._process = subprocess.Popen(
            [program, *["-S", "-nodefaults", "-display", "none", "-no-reboot"], *options],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=shared,
        )
        theirs.close()
        self._socket = ours
        self._socket.settimeout(_TIMEOUT_SECONDS)
        self._buffer = b""
        try:
            self.slots = self._describe("i386-64bit.xml" if long_mode else "i386-32bit.xml")
            self._command(f"Qqemu.sstep={NO_INTERRUPTS_NO_TIMERS}")
        except BaseException:
            self.close()
            raise

    def _describe(self, description: str) -> dict[str, _Slot]:
        """Registers by name: those of 64 bits as if they had 32. Asking for the description is also what allows single
        ones to be written.
        """
        self._command("qXfer:features:read:target.xml:0,ffb")
        text, more = "", "m"
        while more == "m":
            answer = self._command(f"qXfer:features:read:{description}:{len(text):x},ffb")
            text, more = text + answer[1:], answer[:1]
        slots, at = {}, 0
        for number, (name, bits) in enumerate(_DESCRIBED.findall(_COMMENT.sub("", text))):
            slots[_RENAMED.get(name, name)] = _Slot(number, at, int(bits) // 8)
            at += int(bits) // 8
        return slots

    def close(self) -> None:
        """End QEMU."""
        self._socket.close()
        self._process.kill()
        self._process.communicate()

    def goes_on(self) -> bool:
        """Whether QEMU is still there when it has had time to end."""
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        return False

    # -- memory ------------------------------------------------------------------------------------------------------

    def use_physical_addresses(self) -> None:
        """From now on `read` and `write` take physical addresses, not linear ones."""
        self._expect_ok("Qqemu.PhyMemMode:1")

    def write(self, address: int, data: bytes) -> None:
        """Store bytes in memory."""
        for at in range(0, len(data), _CHUNK):
            part = data[at : at + _CHUNK]
            self._expect_ok(f"M{address + at:x},{len(part):x}:{part.hex()}")

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        parts = [(address + at, min(_CHUNK, size - at)) for at in range(0, size, _CHUNK)]
        return b"".join(bytes.fromhex(self._command(f"m{at:x},{part:x}")) for at, part in parts)

    # -- registers ---------------------------------------------------------------------------------------------------

    def set_registers(self, values: Mapping[str, int]) -> None:
        """Registers by the stub's names; selectors come with base and limit as MOV to a segment register has it."""
        for name, value in values.items():
            number, _, size = self.slots[name]
            self._expect_ok(f"P{number:x}={value.to_bytes(size, 'little').hex()}")

    def described_registers(self) -> dict[str, int]:
        """All registers of the stub's description (`slots`), in one packet."""
        data = bytes.fromhex(self._command("g"))
        return {name: int.from_bytes(data[at : at + size], "little") for name, (_, at, size) in self.slots.items()}

    def registers(self) -> dict[str, int]:
        """What the monitor knows: general, control and debug registers, EFLAGS, `cpl`, selectors, `ds.base`,
        `ds.limit`, `ds.attributes` (bits 8 to 23 of a descriptor's second half), `gdtr_base`, `gdtr_limit`...
        """
        text = self._monitor("info registers")
        found = {_RENAMED.get(name.lower(), name.lower()): int(value, 16) for name, value in _REGISTER.findall(text)}
        if (level := _LEVEL.search(text)) is not None:
            found["cpl"] = int(level[1])
        for segment, selector, base, limit, flags in _SEGMENT.findall(text):
            name = _RENAMED.get(segment.lower(), segment.lower())
            found[name], found[f"{name}.base"], found[f"{name}.limit"] = (int(n, 16) for n in (selector, base, limit))
            found[f"{name}.attributes"] = int(flags, 16) >> 8 & 0xFFFF
        for name, base, limit in _TABLE.findall(text):
            found[f"{name.lower()}r_base"], found[f"{name.lower()}r_limit"] = int(base, 16), int(limit, 16)
        return found

    def step(self) -> None:
        """Execute one instruction, or deliver the exception that it raises."""
        self._command("s")

    def run_to(self, linear: int) -> None:
        """Go on to the instruction at a linear address, with interrupts as the guest has them."""
        self._expect_ok(f"Z0,{linear:x},1")
        self._command("c")
        self._expect_ok(f"z0,{linear:x},1")

    # -- the protocol ------------------------------------------------------------------------------------------------

    def _monitor(self, command: str) -> str:
        self._send(f"qRcmd,{command.encode().hex()}")
        text = ""
        while (answer := self._receive()) != "OK":
            text += bytes.fromhex(answer.removeprefix("O")).decode()
        return text

    def _expect_ok(self, text: str) -> None:
        answer = self._command(text)
        if answer != "OK":
            raise QemuMissing(f"{PROGRAM}: its stub answers {answer!r} to {text[:40]!r}; bt is written for QEMU 7.2")

    def _command(self, text: str) -> str:
        self._send(text)
        return self._receive()

    def _send(self, text: str) -> None:
        data = text.encode()
        try:
            # acknowledges the answer before as well: a message less
            self._socket.sendall(b"+$" + data + b"#" + f"{sum(data) & 0xFF:02x}".encode())
        except ConnectionError as error:
            raise self._gone() from error

    def _receive(self) -> str:
        """The next packet, acknowledged by what is sent next."""
        while (match := re.search(rb"\$([^#]*)#..", self._buffer)) is None:
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError as error:
                raise QemuGone(f"{PROGRAM} has not stopped for {_TIMEOUT_SECONDS} s") from error
            except ConnectionError:
                data = b""
            if not data:
                raise self._gone()
            self._buffer += data
        self._buffer = self._buffer[match.end() :]
        if match[1][:1] == b"W":  # the process has exited
            raise self._gone()
        return match[1].decode()

    def _gone(self) -> QemuGone:
        said = self._process.communicate(timeout=_TIMEOUT_SECONDS)[1].decode(errors="replace").strip()
        return QemuGone(f"{PROGRAM} has ended{': ' if said else ''}{' '.join(said.splitlines()[-1:])}")
