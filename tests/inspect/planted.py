"""Machines with something wrong on purpose, for the comparison to find."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from bt.engine.library import Library, load_library
from bt.engine.structures import STENCIL
from bt.inspect.peer import MachinePeer, PeerFactory
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86 import flags, reset
from guest_images.assembler import assemble

ADDRESS = 0x10_0000
MEMORY = 4 << 20
Harm = Callable[[Machine], None]


def peer(source: str, engine: EngineName, library: Callable[[], Library] = load_library) -> PeerFactory:
    """Makes machines about to run `source`; sound ones unless the library is not."""
    return lambda: MachinePeer(*_guest(source, engine), library)


def _guest(source: str, engine: EngineName) -> tuple[MachineConfig, Callable[[Machine], object]]:
    code = assemble(source, 32, ADDRESS)
    return MachineConfig(memory=MEMORY, engine=engine), lambda machine: machine.load(code, flat=ADDRESS)


class PlantedPeer(MachinePeer):
    """Does `harm` to itself after exactly so many instructions, once."""

    def __init__(self, source: str, after: int, harm: Harm) -> None:
        super().__init__(*_guest(source, "bt"))
        self._after, self._harm, self._done = after, harm, False

    def run_to(self, instructions: int) -> None:
        if instructions >= self._after and not self._done:
            super().run_to(self._after)
            self._harm(self.machine)
            self._done = True
        super().run_to(instructions)


class ShyPeer(MachinePeer):
    """Goes wrong at the same place, but only in runs of more than `unobserved` instructions."""

    def __init__(self, source: str, after: int, unobserved: int) -> None:
        super().__init__(*_guest(source, "bt"))
        self._after, self._unobserved = after, unobserved

    def run_to(self, instructions: int) -> None:
        before = self.instructions
        super().run_to(instructions)
        if before < self._after <= instructions and instructions - before > self._unobserved:
            flip_carry(self.machine)


def flip_carry(machine: Machine) -> None:
    """Make CF wrong."""
    reset.write_eflags(machine.cpu.state, reset.read_eflags(machine.cpu.state) ^ flags.CF)


def library_with(stencil: str, sound: bytes, broken: bytes) -> Library:
    """A library whose named stencil has other code of the same length."""
    library = load_library()
    number = library.stencil_names.decode().split("\n").index(stencil)
    (place,) = struct.unpack_from("<I", library.stencils["stencils"], number * STENCIL.size)
    code = bytearray(library.stencils["stencil_code"])
    assert code[place : place + len(sound)] == sound
    code[place : place + len(broken)] = broken
    return replace(library, stencils={**library.stencils, "stencil_code": bytes(code)})
