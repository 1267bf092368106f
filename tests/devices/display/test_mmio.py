"""The VGA's registers in memory: the same as at their ports, beside the monitor's description."""

import random

import pytest

from bt.devices.display.edid import edid
from bt.devices.display.mmio import LENGTH
from bt.memory.bus import Bus
from tests.devices.display.modes import Ours
from tests.devices.qtest import Qemu, needs_qemu

BASE = 0xFEB00000


class Machine:
    def __init__(self) -> None:
        self.ours = Ours()
        self.bus = Bus("memory", 32)
        self.bus.attach(self.ours.vga.mmio, BASE, LENGTH)

    def read(self, address: int, size: int) -> int:
        return self.bus.read(address, size)

    def write(self, address: int, size: int, value: int) -> None:
        self.bus.write(address, size, value)


def test_ports_and_dispi_are_those_of_io_space() -> None:
    machine = Machine()
    machine.write(BASE + 0x402, 1, 0x67)
    machine.write(BASE + 0x414, 2, 0x5A0C)
    assert machine.ours.vga.registers.miscellaneous == 0x67
    assert machine.ours.vga.registers.crtc[0x0C] == 0x5A
    for index, value in ((1, 640), (2, 480), (3, 32), (4, 0x41)):
        machine.write(BASE + 0x500 + 2 * index, 2, value)
    assert machine.ours.vga.dispi.size == (640, 480)
    assert machine.read(BASE + 0x514, 2) == 0x100


@pytest.mark.parametrize("size", [(1280, 800), (640, 480), (3840, 2160)])
def test_the_monitor_describes_itself(size: tuple[int, int]) -> None:
    block = edid(*size)
    assert (len(block), sum(block) & 0xFF, block[:8]) == (128, 0, b"\0\xff\xff\xff\xff\xff\xff\0")
    assert block[54 + 2] | (block[54 + 4] & 0xF0) << 4 == size[0]
    assert block[54 + 5] | (block[54 + 7] & 0xF0) << 4 == size[1]
    clock_hz = int.from_bytes(block[54:56], "little") * 10_000
    assert clock_hz / (size[0] + 160) / (size[1] + 35) == pytest.approx(60, abs=0.1)
    assert b"bt monitor\n" in block
    assert bytes(Machine().read(BASE + n, 1) for n in range(128)) == edid()


@needs_qemu
@pytest.mark.parametrize("seed", range(3))
def test_same_answers_as_qemu(seed: int) -> None:
    rng = random.Random(seed)
    ours = Machine()
    with Qemu("-machine", "pc", "-vga", "std", "-nodefaults", "-m", "64") as qemu:
        for register, value in ((0x18, BASE), (0x04, 2)):
            qemu.port_out(0xCF8, 0x80001000 | register, 4)
            qemu.port_out(0xCFC, value, 4)
        for machine in (ours, qemu):
            machine.write(BASE + 0x402, 1, 0x67)
        for _ in range(300):
            match rng.randrange(4):
                case 0:
                    port = rng.choice([0x404, 0x40E, 0x414])
                    access = (BASE + port, 2, rng.randrange(0x19) | rng.randrange(256) << 8)
                    ours.write(*access)
                    qemu.write(*access)
                case 1:
                    access = (BASE + 0x500 + 2 * rng.choice([1, 2, 3, 6]), 2, rng.choice([0, 8, 640, 1024]))
                    ours.write(*access)
                    qemu.write(*access)
                case 2:
                    port = rng.choice([0x404, 0x405, 0x40C, 0x40E, 0x40F, 0x414, 0x415])
                    assert ours.read(BASE + port, 1) == qemu.read(BASE + port, 1), hex(port)
                case _:
                    offset, size = 0x500 + 2 * rng.randrange(12), rng.choice([2, 2, 1])
                    if offset != 0x50E:  # the virtual height while no mode is on
                        assert ours.read(BASE + offset, size) == qemu.read(BASE + offset, size), hex(offset)
        for offset in range(0x5F0, 0x620, 4):
            assert ours.read(BASE + offset, 4) == qemu.read(BASE + offset, 4)


@pytest.mark.parametrize("seed", range(3))
def test_any_traffic_is_harmless(seed: int) -> None:
    rng = random.Random(seed)
    machine = Machine()
    for _ in range(2000):
        offset = rng.choice([rng.randrange(LENGTH), 0x400 + rng.randrange(0x20), 0x500 + rng.randrange(0x18)])
        machine.write(BASE + offset, rng.choice([1, 2, 4]), rng.getrandbits(32))
        machine.read(BASE + rng.randrange(LENGTH - 8), rng.choice([1, 2, 4, 8]))
