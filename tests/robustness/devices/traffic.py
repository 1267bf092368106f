"""What happens to a machine in one episode: recipes one after the other, and anything anywhere in between."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.robustness.devices import chipset, storage
from tests.robustness.devices.target import Action, Target
from tests.robustness.devices.values import (
    BUS_MASTER_PORTS,
    PM_PORTS,
    SMBUS_PORTS,
    VIRTIO_MEMORY,
    VIRTIO_PORTS,
    register,
)

RECIPES = (*chipset.RECIPES, *storage.RECIPES)
STEPS = 40  # recipes of an episode


def episode(random: Random, target: Target) -> Iterator[Action]:
    """The machine's map says what there is to be written to."""
    ports = [port for first, end, _ in target.board.ports.places() for port in range(first, end)]
    windows = [(first, end) for first, end, _ in target.board.mmio.places()]
    if random.random() < 0.9:
        yield from chipset.pci(random)
    for _ in range(STEPS):
        match random.randrange(10):
            case 0:
                yield from _anywhere(random, ports, windows)
            case 1:
                yield from _in_between(random)
            case _:
                yield from _spoilt(random, random.choice(RECIPES)(random))


def _spoilt(random: Random, traffic: Iterator[Action]) -> Iterator[Action]:
    """Now and then something is missing, twice, or after its time."""
    for action in traffic:
        chance = random.random()
        if chance < 0.02:
            continue
        yield action
        if chance > 0.985:
            yield random.choice((action, action, Action("time", 10_000_000), Action("acknowledge", 1)))
        if chance > 0.9995:  # which takes as long as a hundred others
            yield Action("snapshot")


def _anywhere(random: Random, ports: list[int], windows: list[tuple[int, int]]) -> Iterator[Action]:
    placed = (*VIRTIO_PORTS, BUS_MASTER_PORTS, PM_PORTS, SMBUS_PORTS)
    for _ in range(20):
        size = random.choice((1, 1, 2, 4))
        chosen = random.randrange(4)
        port = random.choice(ports) if chosen else random.choice(placed) + random.randrange(0x80)
        if chosen < 3:
            yield random.choice((Action("out", port, size, register(random, size)), Action("in", port, size)))
            continue
        first, end = random.choice((*windows, *((base, base + 0x4000) for base in VIRTIO_MEMORY)))
        address, size = random.randrange(first, end), 1 << random.randrange(4)
        yield random.choice((Action("store", address, size, register(random, size)), Action("load", address, size)))


def _in_between(random: Random) -> Iterator[Action]:
    yield random.choice((
        Action("reset"),
        Action("snapshot"),
        Action("screen"),
        Action("time", random.choice((1_000_000, 1_000_000_000, 3_600_000_000_000))),
        Action("medium", random.getrandbits(2), random.getrandbits(2), random.getrandbits(1)),
        Action("acknowledge"),
    ))  # fmt: skip
