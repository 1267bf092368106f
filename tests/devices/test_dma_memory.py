"""What bus masters see of memory: holes, the end of the addresses, ROM."""

import random

from bt.devices.dma_memory import DmaMemory, MappedMemory
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam

MIB = 1 << 20
CONTENT = random.Random(1).randbytes(MIB)


def test_beyond_ram() -> None:
    ram = GuestRam(MIB)
    ram.write(0, CONTENT)
    memory = DmaMemory(ram)
    assert memory.read(MIB - 10, 20) == CONTENT[-10:] + b"\xff" * 10
    memory.write(MIB - 4, b"12345678")
    assert memory.read(MIB - 4, 4) == b"1234"
    memory.write(MIB, b"x" * 10_000)
    assert memory.read(50 * MIB, 3 * 4096) == b"\xff" * 3 * 4096
    assert memory.read(MIB - 5000, 5000) == CONTENT[-5000:-4] + b"1234"


def test_the_end_of_the_addresses() -> None:
    ram = GuestRam(MIB)
    ram.write(0, CONTENT)
    memory = DmaMemory(ram)
    assert memory.read((1 << 32) - 8, 16) == b"\xff" * 8 + CONTENT[:8]
    memory.write((1 << 32) - 8, b"a" * 16)
    assert ram.read(0, 16) == b"a" * 8 + CONTENT[8:16]
    wide = DmaMemory(ram, 64)
    assert wide.read(1 << 32, 8) == b"\xff" * 8
    wide.write((1 << 64) - 1, b"zz")
    assert ram.read(0, 1) == b"z"


def test_a_machines_map() -> None:
    ram, rom = GuestRam(MIB), GuestRam(0x2000)
    ram.write(0, CONTENT)
    rom.write(0, b"R" * 0x2000)
    map_ = PhysicalMap(ram)
    map_.add_rom(MIB, rom)
    memory = DmaMemory(MappedMemory(map_))
    assert memory.read(MIB - 4, 8) == CONTENT[-4:] + b"RRRR"
    memory.write(MIB - 4, b"12345678")
    assert memory.read(MIB - 4, 8) == b"1234RRRR"
    memory.write(MIB + 0x1FFC, b"12345678")
    assert memory.read(MIB + 0x1FFC, 8) == b"RRRR" + b"\xff" * 4
    map_.close()
