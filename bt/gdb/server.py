"""The far end of `target remote`: stops the guest, shows and changes it, has it go on (GDB manual, appendix E).

Addresses are linear. Breakpoints are the engine's own: nothing is written into the guest, so one may be set before the
code is loaded, and stays when it is. What GDB does not know of its own, `monitor COMMAND` has: bt's monitor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bt.engine.protocol import Exit
from bt.errors import BtError
from bt.gdb import target
from bt.gdb.packets import PacketReader, Sign, packet
from bt.machine import Machine
from bt.x86.exits import ExitReason

SIGINT, SIGTRAP = 2, 5
MOST_BYTES = 0x1000  # of a packet
FEATURES = f"PacketSize={MOST_BYTES:x};qXfer:features:read+;QStartNoAckMode+;vContSupported+;hwbreak+"
REFUSED = b"E01"
_NO_ANSWER: dict[str, bytes] = {
    "qAttached": b"1", "qC": b"QC01", "qfThreadInfo": b"m01", "qsThreadInfo": b"l", "vCont?": b"vCont;c;C;s;S",
    "qSymbol::": b"OK", "T01": b"OK", "T1": b"OK",
}  # fmt: skip


class GdbServer:
    """One connection at a time; `write` sends to it, from any thread. `received` is of one thread.

    The guest stops when somebody connects: with GDB's first packet.
    """

    def __init__(self, machine: Machine, write: Callable[[bytes], None], monitor: Callable[[str], str]) -> None:
        self._machine, self._write, self._monitor = machine, write, monitor
        self._reader = PacketReader()
        self._last = b""  # what was sent
        self._acknowledges = True
        self._is_attached = False
        self._is_waiting = False  # GDB does, to hear that the guest has stopped
        self._breakpoints: set[int] = set()
        self._before = machine.server(ExitReason.BREAKPOINT)
        machine.serve(ExitReason.BREAKPOINT, self._left)

    def received(self, data: bytes) -> None:
        """What has come from GDB."""
        for each in self._reader.feed(data):
            if each is Sign.AGAIN:
                self._write(self._last)
            elif each is Sign.INTERRUPT:
                self._machine.soon(partial(self._stopped, SIGINT))
            elif each is Sign.DAMAGED:
                self._write(b"-")
            elif isinstance(each, bytes):
                if self._acknowledges:
                    self._write(b"+")
                answer = self._machine.ask(partial(self._answer, each))
                if answer is not None:
                    self._send(answer)

    def ended(self, status: int) -> None:
        """The guest has: GDB hears that its program has."""
        if self._is_waiting:
            self._is_waiting = False
            self._send(b"W%02x" % (status & 0xFF))

    def _send(self, data: bytes) -> None:
        self._last = packet(data)
        self._write(self._last)

    # -- in the guest's thread, between two instructions --------------------------------------------------------------

    def _left(self, leave: Exit) -> None:
        self._before(leave)
        if leave.address in self._breakpoints:
            self._machine.post(partial(self._stopped, SIGTRAP))

    def _stopped(self, signal: int) -> None:
        self._machine.pause()
        if self._is_waiting:
            self._is_waiting = False
            self._send(b"T%02xthread:01;" % signal)

    def _answer(self, asked: bytes) -> bytes | None:
        """What to send; None if GDB hears later."""
        if not self._is_attached:
            self._is_attached = True
            self._machine.pause()
        text = asked.decode("latin-1")
        if (known := _NO_ANSWER.get(text)) is not None:
            return known
        try:
            return self._do(text[0] if text else "", text)
        except (BtError, ValueError):
            return REFUSED

    def _do(self, command: str, text: str) -> bytes | None:
        rest = text[1:]
        match command:
            case "?":
                return b"T%02xthread:01;" % SIGTRAP
            case "g":
                return target.read_all(self._machine).encode()
            case "G":
                target.write_all(self._machine, rest)
                return b"OK"
            case "p":
                return target.read(self._machine, int(rest, 16)).encode()
            case "P":
                number, _, value = rest.partition("=")
                target.write(self._machine, int(number, 16), value)
                return b"OK"
            case "m":
                address, size = _numbers(rest)
                return self._machine.mem.linear.read(address, min(size, MOST_BYTES // 2)).hex().encode()
            case "M":
                where, _, digits = rest.partition(":")
                self._machine.mem.linear.write(_numbers(where)[0], bytes.fromhex(digits))
                return b"OK"
            case "X":
                where, _, data = rest.partition(":")
                self._machine.mem.linear.write(_numbers(where)[0], data.encode("latin-1"))
                return b"OK"
            case "Z" | "z" if rest[:2] in ("0,", "1,"):
                return self._place(command == "Z", int(rest.split(",")[1], 16))
            case "c" | "C" | "s" | "S":
                self._go_on(is_step=command in "sS")
                return None
            case "v":
                return self._verbose(text)
            case "H":
                return b"OK"
            case "D":
                self._detach()
                return b"OK"
            case "k":
                self._detach()
                self._machine.stop()
                return None
            case "q" | "Q":
                return self._query(text)
        return b""  # GDB does without

    def _place(self, is_set: bool, address: int) -> bytes:
        wanted = self._breakpoints | {address} if is_set else self._breakpoints - {address}
        self._machine.cpu.stop_before(wanted)  # raises for more than there is room for
        self._breakpoints = wanted
        return b"OK"

    def _go_on(self, *, is_step: bool) -> None:
        self._is_waiting = True
        self._machine.cpu.pass_breakpoint()
        if is_step:
            self._machine.step(partial(self._stopped, SIGTRAP))
        else:
            self._machine.resume()

    def _detach(self) -> None:
        self._breakpoints = set()
        self._machine.cpu.stop_before(())
        self._is_attached, self._acknowledges = False, True
        self._machine.resume()

    def _verbose(self, text: str) -> bytes | None:
        if text.startswith("vCont;"):
            self._go_on(is_step=text[6:7] in ("s", "S"))
            return None
        if text.startswith("vKill"):
            self._detach()
            self._machine.stop()
            return b"OK"
        return b""

    def _query(self, text: str) -> bytes | None:
        if text.startswith("qSupported"):
            self._acknowledges = True  # of whoever has connected now
            return FEATURES.encode()
        if text == "QStartNoAckMode":
            self._acknowledges = False
            return b"OK"
        if text.startswith("qXfer:features:read:target.xml:"):
            start, size = _numbers(text.rpartition(":")[2])
            whole = target.description(self._machine).encode()
            part = whole[start : start + min(size, MOST_BYTES - 4)]
            return (b"m" if start + len(part) < len(whole) else b"l") + part
        if text.startswith("qRcmd,"):
            said = self._monitor(bytes.fromhex(text[6:]).decode("utf-8", "replace"))
            return said.encode().hex().encode() or b"OK"
        return b""


def _numbers(text: str) -> tuple[int, int]:
    """ADDRESS,SIZE in hexadecimal."""
    first, _, second = text.partition(",")
    return int(first, 16), int(second, 16)
