"""Running a guest with stops on the way, to see what it is like there."""

from __future__ import annotations

from collections.abc import Callable

from bt.engine.library.shared import shared_library
from bt.machine import Machine, MachineConfig
from bt.machine.config import EngineName, TierName
from bt.machine.result import Result

CODE, DATA, MIB = 0x10_0000, 0x20_0000, 1 << 20
Seen = tuple[object, ...]


def stops(
    engine: EngineName,
    tier: TierName,
    image: bytes,
    step: int,
    data_bytes: int,
    look: Callable[[Machine, Result], Seen],
) -> tuple[list[Seen], int]:
    """What `look` sees after each `step` instructions and at the end, then what is at DATA; instructions in units."""
    seen = []
    with Machine(MachineConfig(memory=4 * MIB, engine=engine, tier=tier), library=shared_library()) as made:
        made.load(image, flat=CODE)
        while True:
            result = made.run(max_insns=step)
            seen.append(look(made, result))
            if result.reason != "max-insns":
                seen.append(tuple(made.ram.read(DATA, data_bytes)))
                return seen, made.cpu.statistics().get("unit_insns", 0)
