"""How devices are accessed: from Python, through their models alone, or by a guest's instructions and native code."""

from __future__ import annotations

from typing import Protocol

from bt.machine import Machine
from guest_images.assembler import assemble

# where the guest's instructions and its buffer are: below where a closed A20 would show something else
CODE, BUFFER, BUFFER_BYTES = 0x6_0000, 0x7_0000, 0x8000
SLOT_BYTES = 16  # of code, for each instruction
INSTRUCTIONS = {
    ("load", 1): "mov al, byte [edi]", ("load", 2): "mov ax, word [edi]", ("load", 4): "mov eax, dword [edi]",
    ("load", 8): "movq mm0, qword [edi]",
    ("store", 1): "mov byte [edi], al", ("store", 2): "mov word [edi], ax", ("store", 4): "mov dword [edi], eax",
    ("store", 8): "movq qword [edi], mm0",
    ("in", 1): "in al, dx", ("in", 2): "in ax, dx", ("in", 4): "in eax, dx",
    ("out", 1): "out dx, al", ("out", 2): "out dx, ax", ("out", 4): "out dx, eax",
    ("ins", 1): "rep insb", ("ins", 2): "rep insw", ("ins", 4): "rep insd",
    ("outs", 1): "rep outsb", ("outs", 2): "rep outsw", ("outs", 4): "rep outsd",
}  # fmt: skip
PORT_NS = 1000
MOST_PIECES = 16  # that an instruction is done in


class Misbehaved(Exception):
    """A device has done what none may do, though nothing was raised."""


class Bus(Protocol):
    """Accesses of `size` bytes, with the time that they take."""

    def read_port(self, port: int, size: int, times: int) -> None: ...
    def write_port(self, port: int, size: int, data: bytes) -> None:
        """One access for each `size` bytes of `data`."""

    def load(self, address: int, size: int) -> None: ...
    def store(self, address: int, size: int, value: int) -> None: ...


class OfPython:
    """The buses' own `read` and `write`; what is read must fit."""

    def __init__(self, machine: Machine) -> None:
        self._board, self._clock = machine.board, machine.clock

    def read_port(self, port: int, size: int, times: int) -> None:
        for _ in range(times):
            _check(self._board.ports.read(port, size), size)
            self._pass_time()

    def write_port(self, port: int, size: int, data: bytes) -> None:
        for at in range(0, len(data), size):
            self._board.ports.write(port, size, int.from_bytes(data[at : at + size], "little"))
            self._pass_time()

    def load(self, address: int, size: int) -> None:
        _check(self._board.mmio.read(address, size), size)
        self._pass_time()

    def store(self, address: int, size: int, value: int) -> None:
        self._board.mmio.write(address, size, value)
        self._pass_time()

    def _pass_time(self) -> None:
        self._clock.spend(PORT_NS)
        self._clock.run_due()


class ByInstructions:
    """A guest that executes one instruction for each access, with interrupts off; it can be reset by what it does."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        slots = [assemble(text, 32, CODE).ljust(SLOT_BYTES, b"\x90") for text in INSTRUCTIONS.values()]
        self._code = b"".join(slots)
        self._slots = {access: CODE + SLOT_BYTES * number for number, access in enumerate(INSTRUCTIONS)}
        machine.load(self._code, flat=CODE)

    def read_port(self, port: int, size: int, times: int) -> None:
        if times == 1:
            self._execute("in", size, edx=port)
        else:
            self._execute("ins", size, times, edx=port, edi=BUFFER, ecx=min(times, BUFFER_BYTES // size))

    def write_port(self, port: int, size: int, data: bytes) -> None:
        if len(data) == size:
            self._execute("out", size, edx=port, eax=int.from_bytes(data, "little"))
        else:
            self._machine.ram.write(BUFFER, data)
            self._execute("outs", size, len(data) // size, edx=port, esi=BUFFER, ecx=len(data) // size)

    def load(self, address: int, size: int) -> None:
        if address < 1 << 32:
            self._execute("load", size, edi=address)

    def store(self, address: int, size: int, value: int) -> None:
        if address < 1 << 32:
            self._execute("store", size, edi=address, eax=value & 0xFFFF_FFFF)

    def _execute(self, kind: str, size: int, iterations: int = 1, **registers: int) -> None:
        machine = self._machine
        if machine.ram.read(CODE, len(self._code)) != self._code:  # a device has written there
            machine.ram.write(CODE, self._code)
        for name, value in registers.items():
            setattr(machine.reg, name, value)
        machine.reg.eip = self._slots[kind, size]
        machine.run(max_insns=iterations)
        for _ in range(MOST_PIECES):
            if not machine.cpu.state["mmio_count"] and not machine.cpu.state["delivering"]:
                return
            machine.run(max_insns=1)  # it is not done yet
        raise Misbehaved(f"{kind} of {size} bytes, {registers}: the instruction never ends")


def _check(value: int, size: int) -> None:
    if not 0 <= value < 1 << 8 * size:
        raise Misbehaved(f"read too much: {value:#x} as {size} bytes")
