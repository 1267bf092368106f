"""Numbers that mean something to devices: places in memory, lengths, register values."""

from __future__ import annotations

from random import Random

from tests.robustness.devices.target import FOUR_GIB, MEMORY

# where the recipes put regions of PCI functions, most of the time
VIRTIO_PORTS, BUS_MASTER_PORTS, PM_PORTS, SMBUS_PORTS = (0xC000, 0xC080), 0xC200, 0xB000, 0xB100
VIRTIO_MEMORY, VGA_REGISTERS, FRAMEBUFFER, VGA_ROM = (0xFEB0_0000, 0xFEB1_0000), 0xFEBF_0000, 0xFD00_0000, 0xFEA0_0000
SCRATCH, SCRATCH_BYTES = 0x10_0000, 0x8_0000  # RAM where tables and rings are, so that devices find those of others

PLACES = (
    SCRATCH, SCRATCH + 0x800, SCRATCH + 0x1000, SCRATCH + 0xFFFC, SCRATCH + 0xFFF0,
    0, 0x10, 0xFFF, 0x9_F000, 0x9_FFFE,  # the first pages, the end of what is below the display
    0xA_0000, 0xB_8000, 0xB_FFFF, 0xC_0000, 0xC_7FFC, 0xE_0000, 0xF_FFF0, 0xF_FFFF,  # display, ROM, its end
    MEMORY - 0x1000, MEMORY - 0x10, MEMORY - 2, MEMORY - 1, MEMORY, MEMORY + 0x1000,  # the end of RAM, holes
    FRAMEBUFFER, FRAMEBUFFER + 0xFF_FFF0, VGA_REGISTERS, VIRTIO_MEMORY[0], VGA_ROM, 0xFEC0_0000, 0xFEE0_0000,
    FOUR_GIB - 0x1_0000, FOUR_GIB - 0x10, FOUR_GIB - 1, FOUR_GIB, FOUR_GIB + MEMORY,
    1 << 36, (1 << 36) - 2, 1 << 52, (1 << 63) - 1, 1 << 63, (1 << 64) - 0x1000, (1 << 64) - 1,
)  # fmt: skip
LENGTHS = (0, 1, 2, 15, 16, 511, 512, 513, 4096, 0x7FFF, 0x8000, 0xFFFF, 0x1_0000, 1 << 20, (32 << 20) + 1,
           1 << 31, (1 << 32) - 1)  # fmt: skip


def place(random: Random, bits: int = 64) -> int:
    """An address for a device to go to."""
    chosen = random.random()
    if chosen < 0.5:
        address = SCRATCH + random.randrange(SCRATCH_BYTES)
    elif chosen < 0.9:
        address = random.choice(PLACES) + random.choice((0, 0, 0, -1, 1, 4, -8))
    else:
        address = random.getrandbits(bits)
    return address & (1 << bits) - 1


def length(random: Random) -> int:
    """Of a piece of memory, in 32 bits."""
    chosen = random.random()
    if chosen < 0.6:
        return random.choice((1, 16, 512, 512, 1024, 2048, 4096))
    return random.choice(LENGTHS) if chosen < 0.9 else random.getrandbits(32)


def register(random: Random, size: int) -> int:
    """What may be written to one of `size` bytes."""
    bits = 8 * size
    match random.randrange(6):
        case 0:
            return 0
        case 1:
            return (1 << bits) - 1
        case 2:
            return 1 << random.randrange(bits)
        case 3:
            return place(random) & (1 << bits) - 1
        case _:
            return random.getrandbits(bits)
