"""Traffic for chipset, input and display: as drivers write it, with something wrong here and there."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.robustness.devices.target import Action
from tests.robustness.devices.values import (
    BUS_MASTER_PORTS,
    FRAMEBUFFER,
    PM_PORTS,
    SCRATCH,
    SMBUS_PORTS,
    VGA_REGISTERS,
    VGA_ROM,
    VIRTIO_MEMORY,
    VIRTIO_PORTS,
    length,
    place,
    register,
)

KEYBOARD_COMMANDS = (0xED, 0xEE, 0xF0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF)
MOUSE_COMMANDS = (0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xEB, 0xEC, 0xEE, 0xF0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xFF)
CONTROLLER_COMMANDS = (0x20, 0x60, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAD, 0xAE, 0xC0, 0xD0, 0xD1, 0xD2, 0xD3, 0xD4, 0xE0,
                       0xF0, 0xFE)  # fmt: skip
HPET, IO_APIC, LOCAL_APIC = 0xFED0_0000, 0xFEC0_0000, 0xFEE0_0000
Traffic = Iterator[Action]


def out(port: int, value: int, size: int = 1) -> Action:
    return Action("out", port, size, value)


def store(address: int, value: int, size: int = 4) -> Action:
    return Action("store", address, size, value)


def configuration(slot: int, function: int, offset: int, value: int, size: int = 4) -> Traffic:
    """PCI configuration mechanism 1."""
    yield out(0xCF8, 1 << 31 | slot << 11 | function << 8 | offset & 0xFC, 4)
    yield out(0xCFC + (offset & 3), value, size)


def pci(random: Random) -> Traffic:
    """Regions where the other recipes look for them, and now and then over RAM, ROM or one another."""

    def where(usual: int) -> int:
        return usual if random.random() < 0.85 else place(random, 32)

    for number in range(2):
        yield from configuration(3 + number, 0, 0x10, where(VIRTIO_PORTS[number]))
        yield from configuration(3 + number, 0, 0x20, where(VIRTIO_MEMORY[number]))
        yield from configuration(3 + number, 0, 4, random.choice((7, 7, 7, 0x407, 3, 0)), 2)
    yield from configuration(1, 1, 0x20, where(BUS_MASTER_PORTS))
    yield from configuration(1, 1, 4, random.choice((5, 5, 5, 0)), 2)
    yield from configuration(1, 3, 0x40, where(PM_PORTS))
    yield from configuration(1, 3, 0x80, random.choice((1, 1, 0)), 1)
    yield from configuration(1, 3, 0x90, where(SMBUS_PORTS))
    yield from configuration(1, 3, 0xD2, random.choice((1, 0)), 1)
    yield from configuration(2, 0, 0x10, where(FRAMEBUFFER))
    yield from configuration(2, 0, 0x18, where(VGA_REGISTERS))
    yield from configuration(2, 0, 0x30, where(VGA_ROM) | random.getrandbits(1))
    yield from configuration(2, 0, 4, random.choice((3, 3, 3, 0)), 2)


def pci_at_random(random: Random) -> Traffic:
    for _ in range(8):
        slot, function = random.choice(((0, 0), (1, 0), (1, 1), (1, 3), (2, 0), (3, 0), (4, 0), (31, 7)))
        size = random.choice((1, 2, 4))
        yield from configuration(slot, function, random.randrange(0, 256, size), register(random, size), size)
        yield Action("in", 0xCFC + random.randrange(0, 4, size), size)


def memory_attributes(random: Random) -> Traffic:
    """PAM and SMRAM."""
    for _ in range(6):
        offset = random.choice((0x59, 0x5A, 0x5B, 0x5C, 0x5D, 0x5E, 0x5F, 0x72))
        value = random.choice((0, 0x11, 0x22, 0x33, 0x30, 0x13, 0x4A, 0x1A, random.getrandbits(8)))
        yield from configuration(0, 0, offset, value, 1)
    for _ in range(4):
        yield out(0x92, random.choice((0, 2)))


def interrupt_controller(random: Random) -> Traffic:
    for base in (0x20, 0xA0):
        yield out(base, random.choice((0x10, 0x11, 0x12, 0x13, 0x18, 0x19, 0x1B)))
        for _ in range(3):
            yield out(base + 1, register(random, 1))
    for _ in range(10):
        port = random.choice((0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1))
        yield out(port, random.choice((0x0A, 0x0B, 0x0C, 0x20, 0x60, 0xA0, 0xC2, 0xE3, 0x48, 0x68, 0, 0xFF, 0xFB)))
        yield Action("in", port, 1)
        yield Action("acknowledge", random.getrandbits(1))


def apic(random: Random) -> Traffic:
    yield store(LOCAL_APIC + 0xF0, random.choice((0x1FF, 0x1FF, 0xFF, 0x10F)))
    yield store(LOCAL_APIC + 0x3E0, random.getrandbits(4))
    yield store(LOCAL_APIC + 0x320, random.choice((0x20040, 0x40, 0x10040, 0x60040, 0x2000F)))
    yield store(LOCAL_APIC + 0x380, random.choice((0, 1, 10, 100_000, 0xFFFF_FFFF)))
    for _ in range(12):
        offset = random.choice((0x20, 0x80, 0xB0, 0xD0, 0xE0, 0xF0, 0x280, 0x300, 0x310, 0x320, 0x330, 0x340, 0x350,
                                0x360, 0x370, 0x380, 0x390, 0x3E0, 16 * random.randrange(256)))  # fmt: skip
        yield store(LOCAL_APIC + offset, register(random, 4), random.choice((4, 4, 4, 1, 8)))
        yield Action("load", LOCAL_APIC + offset + random.choice((0, 0, 0, 1, 2, 3)), random.choice((4, 4, 1, 2, 8)))
        yield Action("acknowledge", random.getrandbits(1))
    if random.random() < 0.2:
        yield Action("apic_base", random.choice((0xFEE0_0900, 0xFEE0_0800, 0x900, SCRATCH | 0x800, 0xFEC0_0800,
                                                 random.getrandbits(36) & ~0xFF | 0x800)))  # fmt: skip


def io_apic(random: Random) -> Traffic:
    for _ in range(12):
        yield store(IO_APIC, random.choice((0, 1, 2, random.randrange(0x10, 0x40), random.getrandbits(8))))
        yield store(IO_APIC + 0x10, random.choice((0, 0x10000, 0x8040, 0x50, 0x700, 0x400, random.getrandbits(32))))
        yield Action("load", IO_APIC + random.choice((0, 0x10, 0x10, 0x20, 0x40)), random.choice((1, 4, 4, 8)))
    yield store(IO_APIC + 0x40, random.getrandbits(8))


def timers(random: Random) -> Traffic:
    """The 8254, port 61h and the RTC at any rate."""
    for _ in range(6):
        counter = random.randrange(3)
        yield out(0x43, random.choice((counter << 6 | random.getrandbits(6), 0xE2 | random.getrandbits(4), 0x36)))
        for _ in range(2):
            yield out(0x40 + counter, random.choice((0, 1, 2, 0xFF, random.getrandbits(8))))
        yield Action("in", 0x40 + counter, 1, 3)
        yield out(0x61, random.getrandbits(8))
        yield Action("in", 0x61, 1)
    for _ in range(8):
        yield out(0x70, random.choice((*range(16), 0x32, 0x8F, random.getrandbits(8))))
        yield out(0x71, random.choice((0, 0x20, 0x26, 0x2F, 0x21, 0x72, 0x82, 0xFF, random.getrandbits(8))))
        yield Action("in", 0x71, 1)
    yield Action("time", random.choice((1, 1_000_000, 1_000_000_000)))


def hpet(random: Random) -> Traffic:
    for _ in range(12):
        offset = random.choice((0, 4, 8, 0x10, 0x20, 0xF0, 0x100, 0x104, 0x108, 0x10C, 0x120, 0x128, 0x140, 0x148,
                                random.randrange(0, 0x400, 4)))  # fmt: skip
        size = random.choice((4, 8, 1))
        value = random.choice((0, 1, 2, 3, 0x4C, 0x14C, 0x2000, 100, register(random, size)))
        yield store(HPET + offset, value, size)
        yield Action("load", HPET + offset, size)
    yield Action("time", random.choice((1, 1000, 1_000_000)))


def keyboard(random: Random) -> Traffic:
    for _ in range(12):
        match random.randrange(6):
            case 0:
                yield out(0x64, random.choice((*CONTROLLER_COMMANDS, random.getrandbits(8))))
            case 1:
                yield out(0x60, random.choice(KEYBOARD_COMMANDS))
            case 2:
                yield out(0x64, 0xD4)
                yield out(0x60, random.choice(MOUSE_COMMANDS))
            case 3:
                yield out(0x60, random.choice((0, 1, 2, 3, 10, 20, 40, 60, 80, 100, 200, random.getrandbits(8))))
            case 4:
                yield Action("key", random.getrandbits(8), random.getrandbits(8))
            case _:
                yield Action("mouse", random.getrandbits(16), random.getrandbits(16), random.getrandbits(4))
        yield Action("in", random.choice((0x60, 0x64)), 1, random.choice((1, 1, 8)))
        yield Action("time", random.choice((0, 1_000_000, 100_000_000)))


def keyboard_flood(random: Random) -> Traffic:
    """More than any buffer holds."""
    yield out(0x64, 0x60)
    yield out(0x60, 0x47)
    yield out(0x60, 0xF4)
    yield out(0x64, 0xD4)
    yield out(0x60, 0xF4)
    for _ in range(60):
        yield Action("key", random.getrandbits(8), random.getrandbits(1))
        yield Action("mouse", random.getrandbits(16), random.getrandbits(16), random.getrandbits(4))
    yield Action("in", 0x60, 1, 100)


def serial(random: Random) -> Traffic:
    base = random.choice((0x3F8, 0x2F8))
    yield out(base + 2, random.choice((0, 1, 7, 0xC7, 0x81)))
    yield out(base + 4, random.choice((0, 0x0B, 0x1B, 0x10)))
    for _ in range(12):
        offset = random.randrange(8)
        yield out(base + offset, random.choice((0x80, 0x83, 3, 0, 0x0F, 0xFF, random.getrandbits(8))))
        yield Action("in", base + random.randrange(8), random.choice((1, 1, 2, 4)))
        yield Action("receive", int(base == 0x2F8), random.getrandbits(8))
    for _ in range(random.choice((0, 0, 40))):
        yield out(base, random.getrandbits(8))
        yield Action("receive", int(base == 0x2F8), random.getrandbits(8))


def power(random: Random) -> Traffic:
    for _ in range(8):
        offset, size = random.choice(((0, 2), (2, 2), (4, 2), (8, 4), (6, 1), (12, 4), (0x28, 4)))
        yield out(PM_PORTS + offset, random.choice((0, 1, 0x100, 0x2000, 0x2400, 0x3C00, register(random, size))), size)
        yield Action("in", PM_PORTS + random.choice((0, 2, 4, 8)), random.choice((1, 2, 4)))
        yield out(0xB2, random.choice((0xF0, 0xF1, random.getrandbits(8))))
        yield out(0xAFE0 + random.randrange(4), random.getrandbits(8))
        yield out(SMBUS_PORTS + random.randrange(16), random.getrandbits(8))
        yield Action("in", SMBUS_PORTS + random.randrange(16), 1)
    yield Action("button")
    yield Action("time", random.choice((1000, 5_000_000_000)))
    yield out(0xCF9, random.choice((0, 2, 4, 6, 0xFF)))


def graphics(random: Random) -> Traffic:
    """Modes that no monitor shows."""
    for _ in range(random.choice((4, 20))):
        port, count = random.choice(((0x3C4, 8), (0x3CE, 16), (0x3D4, 0x30), (0x3B4, 0x30)))
        yield out(port, random.randrange(count))
        yield out(port + 1, random.choice((0, 0xFF, 1 << random.randrange(8), random.getrandbits(8))))
    for _ in range(random.choice((0, 3))):
        yield Action("in", random.choice((0x3DA, 0x3BA)), 1)
        yield out(0x3C0, random.getrandbits(6))
        yield out(0x3C0, random.getrandbits(8))
    yield out(random.choice((0x3C2, 0x3C6, 0x3C7, 0x3C8, 0x3C9)), random.getrandbits(8))
    yield Action("in", random.choice((0x3C0, 0x3C1, 0x3C9, 0x3CC, 0x3C2, 0x3CF, 0x3D5)), 1, 3)
    yield from display_memory(random)
    yield Action("screen")


def bochs_display(random: Random) -> Traffic:
    """The display interface: sizes, depths and places that are too much."""

    def value() -> int:
        return random.choice((0, 1, 7, 8, 24, 32, 320, 640, 1024, 1600, 2560, 0x7FFF, 0xFFFF, random.getrandbits(16)))

    by_memory = random.random() < 0.3
    for _ in range(8):
        index = random.randrange(12)
        if by_memory:
            yield store(VGA_REGISTERS + 0x500 + 2 * index, value(), 2)
        else:
            yield out(0x1CE, index, 2)
            yield out(random.choice((0x1CF, 0x1D0)), value(), 2)
            yield Action("in", random.choice((0x1CE, 0x1CF, 0x1D0)), 2)
    yield out(0x1CE, 4, 2)
    yield out(random.choice((0x1CF, 0x1D0)), random.choice((0, 1, 0x21, 0x41, 0x61, 0xC1, 0xE3)), 2)
    yield store(VGA_REGISTERS + random.randrange(0x1000), register(random, 4), random.choice((1, 2, 4)))
    yield Action("load", VGA_REGISTERS + random.randrange(0x1000), random.choice((1, 2, 4, 8)))
    yield from display_memory(random)
    yield Action("screen")


def display_memory(random: Random) -> Traffic:
    for _ in range(6):
        address, size = (
            0xA_0000 + random.choice((0, 0x1_8000, 0x1_FFFD, random.randrange(0x2_0000))),
            1 << random.randrange(4),
        )
        yield store(address, register(random, size), size)
        yield Action("load", address, size)


def configuration_files(random: Random) -> Traffic:
    """fw_cfg by its ports, and by DMA: descriptors over themselves, into ROM, to nowhere."""
    yield out(
        0x510, random.choice((0, 1, 5, 0x19, 0x20, 0x21, 0x22, 0x23, 0x28, 0x4020, 0x8000, random.getrandbits(16))), 2
    )
    yield Action("in", 0x511, random.choice((1, 1, 2, 4)), random.choice((1, 30)))
    for _ in range(4):
        where = place(random)
        target = random.choice((where, where + 4, place(random), place(random)))
        control = random.choice((2, 0x10, 4, 0xA, 0x12, 0x1A, random.getrandbits(6)))
        key = random.choice((0, 0x19, 0x20 + random.randrange(16), random.getrandbits(16)))
        descriptor = (key << 16 | control).to_bytes(4, "big") + length(random).to_bytes(4, "big")
        yield Action("ram", where, data=descriptor + (target & (1 << 64) - 1).to_bytes(8, "big"))
        yield out(0x514, int.from_bytes((where >> 32).to_bytes(4, "big"), "little"), 4)
        yield out(0x518, int.from_bytes((where & 0xFFFF_FFFF).to_bytes(4, "big"), "little"), 4)
    yield Action("in", random.choice((0x514, 0x518)), random.choice((1, 2, 4)))


def small_devices(random: Random) -> Traffic:
    for port in (0x80, 0x92, 0xE9, 0xF0, 0xF1, 0xF4, 0x402, 0x501, 0x505):
        yield out(port, random.getrandbits(8), random.choice((1, 1, 2, 4)))
        yield Action("in", port, random.choice((1, 2, 4)))


RECIPES = (
    pci, pci_at_random, memory_attributes, interrupt_controller, apic, io_apic, timers, hpet, keyboard, keyboard_flood,
    serial, power, graphics, bochs_display, configuration_files, small_devices,
)  # fmt: skip
