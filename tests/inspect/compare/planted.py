"""Machines with something wrong on purpose, for the comparison to find."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import guest_images
from bt.boot.loaders.boot_sector import LOAD_ADDRESS, SIGNATURE, SIGNATURE_OFFSET
from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.engine.library.shared import shared_library
from bt.engine.structures import STENCIL, VARIANTS
from bt.inspect.compare.peer import MachinePeer
from bt.machine import EngineName, Machine, MachineConfig
from bt.x86 import flags, reset
from bt.x86.opcodes import FORMS
from guest_images.assembler import assemble

ADDRESS = 0x10_0000
MEMORY = 4 << 20
Harm = Callable[[Machine], None]


@dataclass(frozen=True)
class Guest:
    """What the machines run: flat 32-bit code, a boot sector, or a built-in guest by name."""

    source: str = ""
    bits: Literal[16, 32] = 32
    name: str = ""
    append: str = ""

    def load(self, machine: Machine) -> None:
        if self.name:
            machine.load(guest_images.image(self.name).path, append=self.append)
        elif self.bits == 32:
            machine.load(assemble(self.source, 32, ADDRESS), flat=ADDRESS)
        else:
            code = assemble(self.source, 16, LOAD_ADDRESS)
            machine.load(code.ljust(SIGNATURE_OFFSET, b"\0") + SIGNATURE, boot_sector=True)


def peer(
    guest: str | Guest, engine: EngineName, library: Callable[[], Library] = shared_library
) -> Callable[[], MachinePeer]:
    """Makes machines about to run a guest (or flat 32-bit source); sound ones unless the library is not."""
    return lambda: MachinePeer(_config(engine), _guest(guest).load, library)


def _guest(guest: str | Guest) -> Guest:
    return Guest(guest) if isinstance(guest, str) else guest


def _config(engine: EngineName) -> MachineConfig:
    return MachineConfig(memory=MEMORY, engine=engine, no_reboot=True)


class PlantedPeer(MachinePeer):
    """Does `harm` to itself after exactly so many instructions, once."""

    def __init__(self, guest: str | Guest, after: int, harm: Harm) -> None:
        super().__init__(_config("bt"), _guest(guest).load)
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
        super().__init__(_config("bt"), _guest(source).load)
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
    number = library.lines("stencil_names").index(stencil)
    (place,) = struct.unpack_from("<I", library.sections["stencils"], number * STENCIL.size)
    code = bytearray(library.sections["stencil_code"])
    assert code[place : place + len(sound)] == sound
    code[place : place + len(broken)] = broken
    return library.replace(sections={**library.sections, "stencil_code": memoryview(code)})


def library_with_handler(wrong: str, right: str) -> Library:
    """A library that interprets the instruction of encoding `wrong` as that of encoding `right`."""
    library = load_library()
    handlers = bytearray(library.sections["handlers"])
    row = len(handlers) // len(FORMS)
    places = {form.encoding: row * form.id for form in FORMS}
    handlers[places[wrong] : places[wrong] + row] = handlers[places[right] : places[right] + row]
    assert row == 8 * VARIANTS
    return library.replace(sections={**library.sections, "handlers": memoryview(handlers)})
