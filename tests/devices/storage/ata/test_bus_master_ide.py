"""The bus master's registers and tables (SFF-8038i), without a disk behind it."""

import random

import pytest

from bt.devices.device import Line
from bt.devices.storage.ata.bus_master_ide import BusMasterIde
from bt.memory.ram import GuestRam
from tests.devices.board import transplant

START, TO_MEMORY = 1, 8
ACTIVE, ERROR, INTERRUPT = 1, 2, 4
TABLE = 0x1000


class Rig:
    def __init__(self) -> None:
        self.ram = GuestRam(1 << 20)
        self.line = Line("INTRQ")
        self.starts = 0
        self.master = BusMasterIde(self.ram, self.line, self.started)

    def started(self) -> None:
        self.starts += 1

    def table(self, *regions: tuple[int, int], at: int = TABLE, ends: bool = True) -> None:
        for n, (address, size) in enumerate(regions):
            last = 0x80 if ends and n == len(regions) - 1 else 0
            entry = address.to_bytes(4, "little") + (size & 0xFFFF).to_bytes(2, "little") + bytes([0, last])
            self.ram.write(at + 8 * n, entry)
        self.master.write(4, 4, at)

    @property
    def status(self) -> int:
        return self.master.read(2, 1)


def test_registers() -> None:
    rig = Rig()
    rig.master.write(4, 4, 0x12345679)
    assert rig.master.read(4, 4) == 0x12345678
    rig.master.write(5, 1, 0xAB)
    assert rig.master.read(4, 4) == 0x1234AB78
    assert rig.master.read(6, 2) == 0x1234
    rig.master.write(0, 1, 0xF8)
    assert rig.master.read(0, 1) == TO_MEMORY
    rig.master.write(2, 1, 0x60)
    rig.line.raise_()
    assert rig.status == 0x60 | INTERRUPT
    rig.master.write(2, 1, 0x20)
    assert rig.status == 0x20 | INTERRUPT  # ones clear it
    rig.master.write(2, 1, 0x64)
    assert rig.status == 0x60


def test_data_goes_where_the_table_says() -> None:
    rig = Rig()
    data = random.Random(1).randbytes(3000)
    rig.table((0x2000, 1000), (0x8000, 1500), (0x5000, 500))
    rig.master.write(0, 1, TO_MEMORY | START)
    assert rig.starts == 1
    assert rig.master.is_running
    assert rig.master.to_memory(memoryview(data)[:700]) == 700
    assert rig.master.to_memory(memoryview(data)[700:]) == 2300
    assert rig.ram.read(0x2000, 1000) + rig.ram.read(0x8000, 1500) + rig.ram.read(0x5000, 500) == data
    rig.line.raise_()
    assert rig.status & 7 == INTERRUPT
    rig.master.write(0, 1, 0)
    rig.master.write(0, 1, START)
    assert rig.master.from_memory(3000) == data
    assert rig.master.to_memory(memoryview(data)) == 0  # the other direction


def test_a_table_that_is_too_short_and_one_that_is_too_long() -> None:
    rig = Rig()
    rig.table((0x2000, 100))
    rig.master.write(0, 1, TO_MEMORY | START)
    assert rig.master.to_memory(memoryview(bytes(200))) == 100
    assert rig.status & ACTIVE == 0
    assert not rig.master.is_running
    rig.master.write(0, 1, 0)
    rig.table((0x2000, 300))
    rig.master.write(0, 1, TO_MEMORY | START)
    assert rig.master.to_memory(memoryview(bytes(200))) == 200
    rig.line.raise_()
    assert rig.status & 7 == INTERRUPT | ACTIVE


def test_a_count_of_zero_is_64_kib() -> None:
    rig = Rig()
    rig.table((0x10000, 0))
    rig.master.write(0, 1, TO_MEMORY | START)
    assert rig.master.to_memory(memoryview(b"z" * 0x10100)) == 0x10000
    assert rig.ram.read(0x10000, 0x10000) == b"z" * 0x10000


def test_stopping_forgets_the_place() -> None:
    rig = Rig()
    rig.table((0x2000, 100), (0x3000, 100))
    rig.master.write(0, 1, TO_MEMORY | START)
    rig.master.to_memory(memoryview(b"a" * 150))
    rig.master.write(0, 1, TO_MEMORY)
    assert rig.status & ACTIVE == 0
    assert rig.master.to_memory(memoryview(b"b" * 10)) == 0
    rig.master.write(0, 1, TO_MEMORY | START)
    rig.master.to_memory(memoryview(b"c" * 100))
    assert rig.ram.read(0x2000, 100) == b"c" * 100


@pytest.mark.parametrize("at", [0xFFFF8, 0xFFFFC, 0x200000, 0xFFFFFFF8])
def test_tables_and_regions_that_are_nowhere(at: int) -> None:
    rig = Rig()
    rig.master.write(4, 4, at)
    for command in (TO_MEMORY | START, START):
        rig.master.write(0, 1, 0)
        rig.master.write(0, 1, command)
        rig.master.to_memory(memoryview(bytes(0x20000)))
        assert len(rig.master.from_memory(0x20000)) <= 0x20000
    rig.table((0xFFFFFF00, 0), (0xFF000, 0))
    rig.master.write(0, 1, 0)
    rig.master.write(0, 1, START)
    assert rig.master.from_memory(0x1000) == b"\xff" * 0x100 + bytes(0xF00)  # beyond 4 GiB is zero


def test_a_table_without_an_end_wraps_within_64_kib() -> None:
    rig = Rig()
    for at in range(0x10000, 0x20000, 8):
        rig.ram.write(at, (0x30000).to_bytes(4, "little") + b"\x02\0\0\0")
    rig.ram.write(0x30000, b"mm")
    rig.master.write(4, 4, 0x1FFF0)
    rig.master.write(0, 1, START)
    assert rig.master.from_memory(50_000) == b"m" * 50_000
    assert rig.master.is_running


def test_data_into_its_own_table() -> None:
    rig = Rig()
    rig.table((TABLE, 16), (TABLE + 8, 8), ends=False)
    rig.master.write(0, 1, TO_MEMORY | START)
    rig.master.to_memory(memoryview(random.Random(1).randbytes(4096)))


@pytest.mark.parametrize("seed", range(5))
def test_random_traffic_and_state(seed: int) -> None:
    rng = random.Random(seed)
    rig, other = Rig(), Rig()
    rig.ram.write(0, rng.randbytes(1 << 20))

    def step(rig: Rig, rng: random.Random) -> object:
        match rng.randrange(6):
            case 0:
                rig.master.write(rng.randrange(8), 1, rng.randrange(256))
            case 1:
                rig.master.write(4, 4, rng.randrange(1 << 20))
                rig.master.write(0, 1, rng.choice([START, START | TO_MEMORY]))
            case 2:
                return rig.master.to_memory(memoryview(rng.randbytes(rng.randrange(600))))
            case 3:
                return rig.master.from_memory(rng.randrange(600))
            case 4:
                rig.line.set(rng.random() < 0.5)
        return rig.master.read(0, 4), rig.master.read(4, 4), rig.master.is_running

    for _ in range(300):
        step(rig, rng)
    other.ram.write(0, rig.ram.read(0, 1 << 20))
    other.line.set(rig.line.level)
    transplant(rig.master, other.master)
    rngs = random.Random(seed), random.Random(seed)
    for _ in range(300):
        assert step(rig, rngs[0]) == step(other, rngs[1])
    assert rig.ram.read(0, 1 << 20) == other.ram.read(0, 1 << 20)


def test_an_input_that_comes_back_is_no_interrupt() -> None:
    """A channel that is restored after its bus master drives the wire between them as it was."""
    rig, other = Rig(), Rig()
    rig.line.raise_()
    rig.master.write(2, 1, INTERRUPT)
    assert rig.status == 0
    transplant(rig.master, other.master)
    other.line.raise_()
    assert other.status == 0
    other.line.lower()
    other.line.raise_()
    assert other.status == INTERRUPT
