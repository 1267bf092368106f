"""A machine for tests of the API: flat 32-bit code, under either engine."""

from __future__ import annotations

from collections.abc import Callable

from bt.engine.library.library import Library
from bt.machine import EngineName, Machine, MachineConfig
from guest_images.assembler import assemble

ENGINES: tuple[EngineName, ...] = ("interp", "bt")
CODE = 0x10_0000
MEMORY = 4 << 20


def machine(
    library: Library,
    engine: EngineName = "bt",
    source: str = "here: jmp here",
    console: Callable[[int], None] | None = None,
) -> Machine:
    """About to execute `source`, which is at CODE; port E9h is the console."""
    made = Machine(MachineConfig(memory=MEMORY, engine=engine), library=library, console=console)
    made.load(assemble(source, 32, CODE), flat=CODE)
    return made


def sector(source: str) -> bytes:
    """A boot sector of 16-bit code."""
    return assemble(source, 16, 0x7C00).ljust(510, b"\0") + b"\x55\xaa"
