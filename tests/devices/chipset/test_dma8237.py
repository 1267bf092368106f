"""The DMA controllers by a peripheral that moves what it is told to."""

import json
import random

import pytest

from bt.devices.chipset.dma8237 import PAGES, SECOND, Dma8237Pair
from bt.memory.ram import GuestRam


class Peripheral:
    """Has bytes for memory, or room for some."""

    def __init__(self, data: bytes = b"", room: int = 0, most: int = 1 << 20) -> None:
        self.data, self.room, self.most = data, room, most
        self.got = b""
        self.ends: list[bool] = []

    def dma_take(self, n: int) -> bytes:
        n = min(n, self.most)
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def dma_room(self) -> int:
        return min(self.room - len(self.got), self.most)

    def dma_give(self, data: bytes) -> None:
        self.got += data

    def dma_served(self, is_terminal: bool) -> None:
        self.ends.append(is_terminal)


@pytest.fixture
def ram() -> GuestRam:
    ram = GuestRam(2 << 20)
    ram.write(0, random.Random(1).randbytes(2 << 20))
    return ram


def pair(ram: GuestRam, channel: int, peripheral: Peripheral) -> Dma8237Pair:
    dma = Dma8237Pair(ram)
    dma.connect(channel, peripheral)
    dma.write(SECOND + 2 * 11, 1, 0xC0)
    dma.write(SECOND + 2 * 10, 1, 0)
    return dma


PAGE = {0: 7, 1: 3, 2: 1, 3: 2, 5: 0xB, 6: 9, 7: 0xA}


def program(dma: Dma8237Pair, channel: int, address: int, count: int, mode: int) -> None:
    """`address` in bytes, `count` in bytes or words."""
    base, step = (0, 1) if channel < 4 else (SECOND, 2)
    unit = address if channel < 4 else address >> 1
    number = channel & 3
    dma.write(base + 12 * step, 1, 0)
    dma.write(base + 11 * step, 1, mode | number)
    for register, value in ((2 * number, unit & 0xFFFF), (2 * number + 1, count - 1)):
        dma.write(base + register * step, 1, value & 0xFF)
        dma.write(base + register * step, 1, value >> 8)
    dma.write(PAGES + PAGE[channel], 1, address >> 16)
    dma.write(base + 10 * step, 1, number)


@pytest.mark.parametrize("channel", PAGE)
@pytest.mark.parametrize("most", [1 << 20, 6])
def test_to_memory_and_from_memory(ram: GuestRam, channel: int, most: int) -> None:
    unit = 1 if channel < 4 else 2
    data = random.Random(2).randbytes(100 * unit)
    peripheral = Peripheral(data + b"more", most=most)
    dma = pair(ram, channel, peripheral)
    program(dma, channel, 0x12340, 100, 0x44)
    dma.request(channel, True)
    assert ram.read(0x12340, 100 * unit) == data
    assert peripheral.ends == [True]
    assert peripheral.data == b"more"  # the channel is masked now
    dma.request(channel, False)
    peripheral.room = 40 * unit
    program(dma, channel, 0x12340, 60, 0x48)
    dma.request(channel, True)
    assert peripheral.got == data[: 40 * unit]
    assert peripheral.ends[-1] is False
    peripheral.room = 1000
    dma.request(channel, True)
    assert peripheral.got == data[: 60 * unit]
    assert peripheral.ends[-1] is True


@pytest.mark.parametrize("channel", [2, 6])
def test_addresses_wrap_within_their_page(ram: GuestRam, channel: int) -> None:
    unit = 1 if channel < 4 else 2
    data = random.Random(3).randbytes(64 * unit)
    dma = pair(ram, channel, Peripheral(data))
    page = 0x20000
    end = page + 0x10000 * unit
    before = ram.read(end, 100)
    program(dma, channel, end - 10 * unit, 64, 0x44)
    if channel == 6:
        dma.write(PAGES + PAGE[6], 1, 3)  # bit 0 of a page is the address register's
    dma.request(channel, True)
    assert ram.read(end - 10 * unit, 10 * unit) == data[: 10 * unit]
    assert ram.read(page, 54 * unit) == data[10 * unit :]
    assert ram.read(end, 100) == before


@pytest.mark.parametrize("channel", [1, 7])
def test_downwards(ram: GuestRam, channel: int) -> None:
    unit = 1 if channel < 4 else 2
    data = random.Random(3).randbytes(30 * unit)
    dma = pair(ram, channel, Peripheral(data))
    program(dma, channel, 0x10020, 30, 0x64)
    dma.request(channel, True)
    units = [data[at : at + unit] for at in range(0, len(data), unit)]
    assert ram.read(0x10020 - 29 * unit, 30 * unit) == b"".join(reversed(units))


def test_autoinitialize(ram: GuestRam) -> None:
    peripheral = Peripheral(bytes(range(30)))
    dma = pair(ram, 3, peripheral)
    program(dma, 3, 0x5000, 10, 0x54)
    for _ in range(3):
        dma.request(3, True)
    assert peripheral.ends == [True] * 3
    assert ram.read(0x5000, 10) == bytes(range(20, 30))


def test_verify_moves_nothing(ram: GuestRam) -> None:
    before = ram.read(0x5000, 10)
    peripheral = Peripheral(bytes(10))
    dma = pair(ram, 2, peripheral)
    program(dma, 2, 0x5000, 10, 0x40)
    dma.request(2, True)
    assert ram.read(0x5000, 10) == before
    assert peripheral.ends == [True]
    assert peripheral.data == b""


def test_what_holds_a_channel_back(ram: GuestRam) -> None:
    peripheral = Peripheral(b"x" * 10)
    dma = pair(ram, 2, peripheral)
    program(dma, 2, 0x5000, 10, 0x44)
    for offset, stop, go in ((10, 6, 2), (8, 4, 0), (SECOND + 20, 4, 0), (SECOND + 16, 4, 0), (11, 0xC2, 0x46)):
        dma.write(offset, 1, stop)
        dma.request(2, True)
        assert len(peripheral.data) == 10, offset
        dma.request(2, False)
        dma.write(offset, 1, go)
    dma.request(2, True)
    assert peripheral.data == b""


def test_status_and_software_requests(ram: GuestRam) -> None:
    dma = pair(ram, 2, Peripheral())
    dma.request(2, True)
    dma.write(9, 1, 5)
    assert dma.read(8, 1) == 0x60
    dma.write(9, 1, 1)
    dma.request(2, False)
    assert dma.read(8, 1) == 0
    program(dma, 2, 0x5000, 1, 0x44)
    dma.connect(2, Peripheral(b"x"))
    dma.request(2, True)
    assert dma.read(8, 1) == 0x44
    assert dma.read(8, 1) == 0x40


@pytest.mark.parametrize("page", [0x1F, 0xFF])
def test_beyond_ram(ram: GuestRam, page: int) -> None:
    peripheral = Peripheral(b"x" * 100, room=100)
    dma = pair(ram, 2, peripheral)
    program(dma, 2, page << 16 | 0xFFF0, 100, 0x44)
    dma.request(2, True)
    assert peripheral.ends == [True]
    program(dma, 2, 0xFF0000, 100, 0x48)
    dma.request(2, True)
    assert peripheral.got == b"\xff" * 100


@pytest.mark.parametrize("seed", range(10))
def test_senseless_traffic_and_state(ram: GuestRam, seed: int) -> None:
    rng = random.Random(seed)
    machines = []
    for _ in range(2):
        dma = Dma8237Pair(ram)
        for channel in PAGE:
            dma.connect(channel, Peripheral(bytes(4000), room=4000, most=rng.choice([2, 64])))
        machines.append(dma)
    first, second = machines

    def step(dma: Dma8237Pair, chance: random.Random) -> int | None:
        offset = chance.choice([*range(16), *range(SECOND, SECOND + 32), *range(PAGES + 1, PAGES + 16)])
        match chance.randrange(4):
            case 0:
                return dma.read(offset, 1)
            case 1:
                dma.request(chance.choice(list(PAGE)), chance.random() < 0.5)
            case _:
                dma.write(offset, 1, chance.randrange(256))
        return None

    for _ in range(500):
        step(first, rng)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.state() == first.state()
    for channel in PAGE:
        for dma in machines:
            dma.connect(channel, Peripheral(bytes(4000), room=4000))
    seeds = random.Random(seed), random.Random(seed)
    for _ in range(500):
        assert step(first, seeds[0]) == step(second, seeds[1])
    assert second.state() == first.state()
