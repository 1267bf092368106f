"""Programs in long mode: plots of each size of code, and what happens to them from outside."""

from __future__ import annotations

from random import Random

from tests.cases.model import LONG_CPU, with_every_instruction
from tests.robustness.fuzz import long_world, world
from tests.robustness.fuzz.incidents import Incidents
from tests.robustness.fuzz.long_settings import LONG_SETTINGS
from tests.robustness.fuzz.plots import Loop
from tests.robustness.fuzz.program import Event, Program, cut

_MODELS = (LONG_CPU, LONG_CPU, "qemu64", with_every_instruction(LONG_CPU))
_EXCEPTION_FREE = 0.15  # of plots: nothing behind the loop
_CHANCE_OF_HOP = 0.5


def generate_long(random: Random, setting: str) -> Program:
    """A new program; `setting`: one of LONG_SETTINGS."""
    assert setting in LONG_SETTINGS
    code = b"".join(
        _plot(random, bits, number) for bits, area in long_world.AREAS.items() for number in range(area.plots)
    )
    kinds = ("run", "run", "interrupt", "interrupt", "nmi", "write")
    events = []
    for _ in range(random.randrange(3, 8)):
        kind = random.choice(kinds)
        value = random.choice((world.TIMER, world.MOVER)) if kind == "interrupt" else random.getrandbits(32)
        events.append(Event(random.choice((3, 100, 2_000, 20_000, 40_000, 40_000)), kind, value))
    return Program(
        setting,
        random.choice(_MODELS),
        str(random.getrandbits(48)),
        cut(code),
        (*events, Event(40_000, "run")),
        calm=True,
    )


def generate_bytes(random: Random, setting: str) -> Program:
    """A new program of anything: random bytes, or instructions of any form. It hardly ever gets far without a fault."""
    incidents = {bits: Incidents(random, bits) for bits in long_world.AREAS}
    code = b""
    for bits, area in long_world.AREAS.items():
        size = area.plots * long_world.PLOT_BYTES
        part = random.randbytes(size) if random.random() < 0.3 else b""
        while len(part) < size:
            part += incidents[bits].any()
        code += part[:size]
    events = tuple(
        Event(random.choice((1, 2, 7, 100, 1000)), random.choice(("run", "nmi", "write")), random.getrandbits(32))
        for _ in range(12)
    )
    return Program(setting, random.choice(_MODELS), str(random.getrandbits(48)), cut(code), events, calm=True)


def _plot(random: Random, bits: int, number: int) -> bytes:
    """Loop and incidents; behind the last one of a size the way to the first of this or another size."""
    area = long_world.AREAS[bits]
    address = long_world.ORIGIN + area.offset + number * long_world.PLOT_BYTES
    incidents = Incidents(random, bits)
    end = b""
    if number == area.plots - 1:
        other = random.choice([size for size in long_world.AREAS if size != bits])
        first = long_world.ORIGIN + long_world.AREAS[other].offset
        end = incidents.hop(other, first) if random.random() < _CHANCE_OF_HOP else b""
    room = long_world.PLOT_BYTES - len(end) - 8
    code = b"" if bits == 64 else incidents.data_segments()
    code += Loop(random, bits, address).code()
    assert len(code) <= room, "a loop is longer than its plot"
    while random.random() > _EXCEPTION_FREE and len(code) + len(more := incidents.any()) <= room:
        code += more
        if random.random() < 0.5:
            break
    if number == area.plots - 1 and not end:
        end = incidents.near(b"\xe9", -len(code) - number * long_world.PLOT_BYTES)
    return (code + end).ljust(long_world.PLOT_BYTES, b"\x90")
