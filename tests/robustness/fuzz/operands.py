"""Values and addresses that are worth trying."""

from __future__ import annotations

from random import Random

from tests import tables
from tests.robustness.fuzz import world

BOUNDARIES = (
    *(0, 1, 2, 3, 0x1F, 0x20, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF),
    *(0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
)
_MEGABYTES_4 = 4 << 20


def some_value(random: Random) -> int:
    """A 32-bit number."""
    kind = random.random()
    if kind < 0.5:
        return random.choice(BOUNDARIES)
    return random.randrange(64) if kind < 0.7 else random.getrandbits(32)


def _data(random: Random) -> int:
    """An offset into the data, often near the end of a page."""
    if random.random() < 0.25:
        page = random.randrange(1, world.DATA_BYTES // tables.PAGE_BYTES) * tables.PAGE_BYTES
        return page + random.randrange(-16, 8)
    return random.randrange(world.DATA_BYTES) & random.choice((~0, ~0, ~3, ~15))


def some_address(random: Random, bits: int) -> int:
    """An offset for data: in `bits` = 16 of a segment that begins at the data, else of a flat one."""
    kind = random.random()
    if bits == 16:
        if kind < 0.85:
            return _data(random)
        return random.choice((0, 1, 0xFFFD, 0xFFFE, 0xFFFF, random.getrandbits(16)))
    if kind < 0.72:
        return world.DATA + _data(random)
    if kind < 0.80:
        return random.randrange(1, 1024) * _MEGABYTES_4 + world.DATA + _data(random)
    if kind < 0.84:  # an alias for reading, and what is mapped by chance
        return random.randrange(world.RAM_BYTES, _MEGABYTES_4)
    if kind < 0.87:
        return world.STACK_TOPS[random.randrange(4)] - random.randrange(0x400)
    if kind < 0.90:
        return world.CODE + random.randrange(world.CODE_BYTES)
    if kind < 0.92:
        return random.choice((world.GDT, world.LDT, world.IDT, world.TASKS)) + random.randrange(0x400)
    if kind < 0.94:
        return some_table_entry(random)
    if kind < 0.96:
        return -random.randrange(20) & 0xFFFFFFFF
    return random.choice((0, 1, 0xFFFF, 0x10000, world.RAM_BYTES + random.randrange(64), random.getrandbits(32)))


def some_table_entry(random: Random) -> int:
    """The address of an entry of some page table, mostly one that means something."""
    if random.random() < 0.3:
        return random.choice((world.DIRECTORY, world.LARGE_DIRECTORY, world.PAE_DIRECTORIES)) + random.randrange(0x1000)
    table, size = random.choice(((world.TABLE, 4), (world.PAE_TABLE, 8)))
    page = random.choice((world.DATA >> 12, world.CODE >> 12, random.randrange(1024)))
    return table + size * (page + random.randrange(4) & 0x3FF)
