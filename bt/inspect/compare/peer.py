"""Machines that can be compared in lock step, and what is compared of them.

`Peer` is all that the comparison in lock step asks for. QEMU is none: it counts no instructions (single_step.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Protocol

from bt.end import End
from bt.engine.library.library import Library
from bt.engine.library.shared import shared_library
from bt.engine.structures import MAX_BLOCK_INSNS
from bt.engine.translator.gates.interpreted import TRANSLATABLE
from bt.engine.vcpu import own_vcpu
from bt.inspect.code import Instruction, next_instruction
from bt.inspect.compare.registers import read_registers
from bt.inspect.explanation.structure import find_block
from bt.machine import Machine, MachineConfig
from bt.x86.page import PAGE

_ZEROS = bytes(PAGE)


class Peer(Protocol):
    """One of two machines that should do the same; deterministic from its start."""

    @property
    def name(self) -> str: ...

    @property
    def instructions(self) -> int:
        """Retired so far."""

    @property
    def ended(self) -> str | None:
        """How the guest ended; None while it can go on."""

    def run_to(self, instructions: int) -> None:
        """Go on until so many instructions have retired in all, or the guest ends."""

    def stretch(self) -> int:
        """How many instructions are translated as one piece from here; 1 where each stands for itself."""

    def limit_pieces(self, instructions: int) -> None:
        """From now on translate at most so many instructions as one piece."""

    def registers(self) -> Mapping[str, int]:
        """Architectural state by name."""

    def output(self) -> bytes:
        """What the guest has told the world so far."""

    def devices(self) -> Mapping[str, object]:
        """The state of each device by name, comparable with ==."""

    def pages(self) -> Mapping[int, bytes]:
        """Digest of each page of RAM that is not all zeros, by physical address."""

    def page(self, physical: int) -> bytes:
        """The contents of one page of RAM."""

    def next_instruction(self) -> Instruction:
        """What executes next."""

    def close(self) -> None:
        """Give everything back."""


PeerFactory = Callable[[], Peer]
Loader = Callable[[Machine], object]


class MachinePeer:
    """One of bt's own machines. `load` puts the guest into it; `library` brings the code."""

    def __init__(self, config: MachineConfig, load: Loader, library: Callable[[], Library] = shared_library) -> None:
        self.name = str(config.engine)
        self.ended: str | None = None
        self.end: End | None = None
        self._output = bytearray()
        self.machine = Machine(config, serial=self._output.append, console=self._output.append, library=library())
        self.cpu = own_vcpu(self.machine.cpu)
        load(self.machine)

    @property
    def instructions(self) -> int:
        return self.cpu.instructions

    def run_to(self, instructions: int) -> None:
        left = instructions - self.instructions
        if left <= 0 or self.ended is not None:
            return
        result = self.machine.run(max_insns=left)
        if result.reason is End.INTERRUPTED:
            raise KeyboardInterrupt
        if result.reason is not End.MAX_INSNS:
            self.end, self.ended = result.reason, f"{result.reason} with status {result.status}"

    def stretch(self) -> int:
        cpu = self.cpu
        if cpu.name == "interp" or cpu.state["mode"] & TRANSLATABLE != TRANSLATABLE:
            return 1
        block = find_block(cpu)
        return 1 if block is None else block["count"]

    def limit_pieces(self, instructions: int) -> None:
        self.cpu.set_control("block_limit", min(instructions, MAX_BLOCK_INSNS))
        self.cpu.flush()

    def registers(self) -> dict[str, int]:
        return read_registers(self.cpu.state, self.instructions)

    def output(self) -> bytes:
        return bytes(self._output)

    def devices(self) -> dict[str, object]:
        states = {name: device.state() for name, device in self.machine.board.devices.items()}
        return states | {"clock": self.machine.clock.state()}

    def pages(self) -> dict[int, bytes]:
        found = {}
        for start, end in self.machine.ram.extents():
            for physical in range(start, end, PAGE):
                contents = self.page(physical)
                if contents != _ZEROS:
                    found[physical] = blake2b(contents, digest_size=16).digest()
        return found

    def page(self, physical: int) -> bytes:
        return self.machine.ram.read(physical, PAGE)

    def next_instruction(self) -> Instruction:
        return next_instruction(self.cpu)

    def close(self) -> None:
        self.machine.close()
