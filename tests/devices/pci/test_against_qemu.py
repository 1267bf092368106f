"""Configuration space and PM registers against QEMU's -M pc.

Left out is what QEMU does otherwise: SMRAM's fixed and reserved bits and its lock; a configuration address with its low
bits set; bytes of the PM registers; storage keeps its bytes over a reset; its PM timer status is set when the machine
begins. Regions while their space is on are not looked at.
"""

import random
from collections.abc import Iterator

import pytest

from tests.devices.pci.pc import ENABLED, Pc
from tests.devices.qtest import Qemu, needs_qemu

pytestmark = needs_qemu

FUNCTIONS = ((0, 0), (1, 0), (1, 1), (1, 3), (2, 0))
SMRAM = 0x72


@pytest.fixture
def qemu() -> Iterator[Qemu]:
    with Qemu("-machine", "pc", "-vga", "std", "-nodefaults", "-m", "64") as qemu:
        yield qemu


def whole(machine: Pc | Qemu) -> dict[tuple[int, int], list[str]]:
    found = {}
    for device, function in FUNCTIONS:
        values = []
        for register in range(0, 256, 4):
            machine.port_out(0xCF8, ENABLED | device << 11 | function << 8 | register, 4)
            values.append(f"{register:02x}: {machine.port_in(0xCFC, 4):08x}")
        found[device, function] = values
    return found


def test_configuration_space_after_reset(qemu: Qemu) -> None:
    assert whole(Pc()) == whole(qemu)


def test_who_is_there(qemu: Qemu) -> None:
    pc = Pc()
    for device in range(4):
        for function in range(8):
            for machine in (pc, qemu):
                machine.port_out(0xCF8, ENABLED | device << 11 | function << 8, 4)
            assert pc.port_in(0xCFC, 4) == qemu.port_in(0xCFC, 4), (device, function)


@pytest.mark.parametrize("seed", range(4))
def test_random_writes(qemu: Qemu, seed: int) -> None:
    rng = random.Random(seed)
    pc = Pc()
    for _ in range(400):
        device, function = rng.choice(FUNCTIONS)
        size = rng.choice([1, 2, 4])
        register = rng.randrange(0, 256, size)
        if (device, function) == (0, 0) and register <= SMRAM < register + size:
            continue
        value = rng.getrandbits(8 * size)
        if register <= 4 < register + size:
            value &= ~0x03  # regions stay off
        for machine in (pc, qemu):
            machine.port_out(0xCF8, ENABLED | device << 11 | function << 8 | register & 0xFC, 4)
            machine.port_out(0xCFC + (register & 3), value, size)
        at, length = rng.choice([(0xCFC, 4), (0xCFD, 1), (0xCFE, 2), (0xCF8, 4)])
        found = pc.port_in(at, length), qemu.port_in(at, length)
        assert found[0] == found[1], (device, function, hex(register), size, hex(value), hex(at), length)
    assert whole(pc) == whole(qemu)


@pytest.mark.parametrize("seed", range(3))
def test_pm_registers(qemu: Qemu, seed: int) -> None:
    rng = random.Random(seed)
    for register, value, size in ((0x40, 0x601, 4), (0x80, 1, 1)):
        qemu.port_out(0xCF8, ENABLED | 0x0B00 | register, 4)
        qemu.port_out(0xCFC, value, size)
    pm = Pc().pm_registers
    for _ in range(150):
        offset = rng.choice([2, 4])
        value = rng.getrandbits(16) & (~0x2000 if offset == 4 else 0xFFFF)  # not to sleep
        qemu.port_out(0x600 + offset, value, 2)
        pm.write(offset, 2, value)
        offset = rng.choice([2, 4])
        assert pm.read(offset, 2) == qemu.port_in(0x600 + offset, 2)
