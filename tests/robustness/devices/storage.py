"""Traffic for disks, CD-ROM drives, diskettes and their bus masters; bt/devices/storage."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

from bt.devices.storage.ata import ata_disk, atapi_cdrom
from tests.robustness.devices.chipset import out, store
from tests.robustness.devices.target import Action
from tests.robustness.devices.values import (
    BUS_MASTER_PORTS,
    SCRATCH,
    VIRTIO_MEMORY,
    VIRTIO_PORTS,
    length,
    place,
    register,
)

Traffic = Iterator[Action]
CHANNELS = ((0x1F0, 0x3F6), (0x170, 0x376))
DISK_COMMANDS = (*ata_disk.TRANSFERS, *ata_disk.TRANSFERS, *ata_disk.COMMANDS)
PACKET_COMMANDS = tuple(atapi_cdrom.PACKET_COMMANDS)
FLOPPY_COMMANDS = {  # first byte without options: how many bytes follow
    0x02: 8, 0x03: 2, 0x04: 1, 0x05: 8, 0x06: 8, 0x07: 1, 0x08: 0, 0x09: 8, 0x0A: 1, 0x0C: 8, 0x0D: 5, 0x0E: 0,
    0x0F: 2, 0x10: 0, 0x12: 1, 0x13: 3, 0x14: 0, 0x16: 8, 0x8F: 2, 0xCF: 2, 0x94: 0, 0x11: 8,
}  # fmt: skip
A_WHILE = (0, 1000, 1_000_000, 100_000_000, 1_000_000_000)


def _wait(random: Random) -> Action:
    return Action("time", random.choice(A_WHILE))


def regions(random: Random, channel: int) -> Traffic:
    """A table of physical regions for a bus master, and the master started."""
    table = place(random, 32)
    entries = b""
    for number in range(count := random.choice((1, 2, 5, 40))):
        last = 0x8000 if number == count - 1 and random.random() < 0.8 else 0
        where = random.choice((place(random, 32), table, SCRATCH))
        entries += struct.pack("<IHH", where, length(random) & 0xFFFF, last | random.choice((0, 0, 1, 0x7FFF)))
    yield Action("ram", table, data=entries)
    base = BUS_MASTER_PORTS + 8 * channel
    yield out(base + 4, table, 4)
    yield out(base + 2, random.choice((0x66, 0x06, 0x64, 0x60, 0xFF)))
    yield out(base, random.choice((1, 9)))


def _moves(random: Random, base: int) -> Iterator[Action]:
    """What a driver does with the data port once a command is under way."""
    for _ in range(random.choice((1, 3, 8))):
        yield _wait(random)
        yield Action("in", base + 7, 1)
        match random.randrange(4):
            case 0:
                yield Action("in", base, random.choice((2, 2, 4)), random.choice((1, 255, 256, 600)))
            case 1:
                yield Action(
                    "outs", base, random.choice((2, 2, 4)), data=random.randbytes(random.choice((512, 1024, 30)))
                )
            case 2:
                yield Action("in", base + random.randrange(8), 1)
            case _:
                yield out(base + random.randrange(8), random.getrandbits(8), random.choice((1, 2, 4)))


def disk(random: Random) -> Traffic:
    number = random.choice((0, 0, 0, 1))
    base, control = CHANNELS[number]
    yield out(base + 6, random.choice((0xE0, 0xF0, 0xA0, 0xB0, 0x40, random.getrandbits(8))))
    if random.random() < 0.3:
        yield from regions(random, number)
    is_wide = random.random() < 0.3
    for _ in range(1 + is_wide):
        for offset in range(1, 6):
            values = (0, 0, 1, 2, 3, 16, random.randrange(64), random.getrandbits(8))
            yield out(base + offset, random.choice(values))
    yield out(base + 7, random.choice(DISK_COMMANDS) if random.random() < 0.95 else random.getrandbits(8))
    if random.random() < 0.3:
        yield from regions(random, number)
    yield from _moves(random, base)
    if random.random() < 0.2:
        yield out(control, random.choice((2, 4, 0, 0x80, 0x86)))
        yield Action("in", control, 1)
        yield out(control, random.choice((0, 0, 2)))


def sectors(random: Random) -> Traffic:
    """Reading and writing in earnest, as far as it is let."""
    base, _ = CHANNELS[0]
    command = random.choice(tuple(ata_disk.TRANSFERS))
    transfer = ata_disk.TRANSFERS[command]
    is_chs = random.random() < 0.2
    yield out(base + 6, 0xA0 if is_chs else 0xE0)
    yield out(base + 2, random.choice((1, 2, 16, 0x80, 3)))
    yield out(base + 7, 0xC6)
    count, lba = random.choice((1, 2, 3, 17, 0)), random.choice((0, 1, 5, 250, 299, 300))
    registers = (count, lba % 63 + 1 if is_chs else lba & 0xFF, 0 if is_chs else lba >> 8, 0)
    for at, value in enumerate(registers, 2):
        if transfer.wide:
            yield out(base + at, 0)
        yield out(base + at, value)
    if transfer.dma:
        yield from regions(random, 0)
    yield out(base + 7, command)
    for _ in range(random.choice((1, 4, 20))):
        yield Action("time", 10_000_000)
        yield Action("in", base + 7, 1)
        if transfer.writes:
            yield Action("outs", base, random.choice((2, 4)), data=random.randbytes(512))
        else:
            yield Action("in", base, random.choice((2, 4)), 256)
    yield out(base + 7, random.choice((0xE7, 0xEA, 0xEC, 0xF8, 0x27)))
    yield Action("time", 100_000_000)


def cdrom(random: Random) -> Traffic:
    base, _ = CHANNELS[1]
    by_dma = random.random() < 0.3
    if by_dma:
        yield from regions(random, 1)
    yield out(base + 6, random.choice((0xA0, 0xA0, 0xB0)))
    yield out(base + 1, int(by_dma) | random.choice((0, 0, 0, 2)))
    limit = random.choice((0, 1, 2, 2048, 0xFFFF, 0x1234, random.getrandbits(16)))
    yield out(base + 4, limit & 0xFF)
    yield out(base + 5, limit >> 8)
    yield out(base + 7, 0xA0)
    packet = bytearray(random.choice((bytes(12), random.randbytes(12))))
    packet[0] = random.choice(PACKET_COMMANDS) if random.random() < 0.95 else random.getrandbits(8)
    if random.random() < 0.7:
        packet[2:6] = random.choice((0, 1, 16, 39, 40, 0xFFFF_FFFF)).to_bytes(4, "big")
        packet[7:9] = random.choice((0, 1, 2, 20, 8, 0xFFFF)).to_bytes(2, "big")
        packet[1], packet[4] = random.choice((0, 1, 2)), random.choice((0, 1, 2, 3, 18, 36, 0xFF))
        packet[9:] = random.choice((b"\x10\0\0", b"\0\0\0", b"\xf8\0\0"))
    if packet[0] == 0x5A:
        packet[2] = random.choice((0x01, 0x0D, 0x0E, 0x2A, 0x3F, 0x5A, 0x80, random.getrandbits(8)))
    yield Action("outs", base, 2, data=bytes(packet))
    yield from _moves(random, base)
    if random.random() < 0.2:
        yield Action("medium", random.getrandbits(2), random.getrandbits(2), random.getrandbits(1))


def diskette(random: Random) -> Traffic:
    """The controller and channel 2 of the DMA controller."""
    if random.random() < 0.4:
        yield out(0x3F2, random.choice((0x1C, 0x1C, 0x2D, 0x0C, 0x18, 0x00, random.getrandbits(8))))
        yield out(random.choice((0x3F7, 0x3F4)), random.choice((0, 0, 2, 1, 3, 0x80)))
    if random.random() < 0.7:
        yield from isa_dma(random, 2)
    if random.random() < 0.3:
        for value in (0x03, 0xDF, random.choice((2, 3))):
            yield out(0x3F5, value)
    command = random.choice(tuple(FLOPPY_COMMANDS))
    options = random.choice((0xC0, 0x40, 0x80, 0x20, 0)) if command < 0x80 else 0
    yield out(0x3F5, command | options)
    unit = random.choice((0, 0, 1, 4, 5, 3, 0x80))
    cylinder, head, sector = (
        random.choice((0, 0, 1, 79, 255)),
        random.choice((0, 1)),
        random.choice((1, 1, 2, 18, 19, 0)),
    )
    usual = (unit | head << 2, cylinder, head, sector, 2, random.choice((18, 1, 2, 9, 255)), 0x1B, 0xFF)
    for at in range(FLOPPY_COMMANDS[command]):
        yield out(0x3F5, usual[at] if random.random() < 0.9 else random.getrandbits(8))
    for _ in range(random.choice((1, 3))):
        yield _wait(random)
        yield Action("in", 0x3F4, 1)
        if random.random() < 0.5:
            yield Action("in", 0x3F5, 1, random.choice((1, 7, 520)))
        elif random.random() < 0.5:
            yield Action("outs", 0x3F5, 1, data=random.randbytes(random.choice((1, 4, 72, 512, 600))))
    yield Action("in", 0x3F5, 1, 7)
    yield out(0x3F5, 8)
    yield Action("in", 0x3F5, 1, 2)
    if random.random() < 0.1:
        yield Action("medium", 2 + random.getrandbits(1), random.getrandbits(2))


def track(random: Random) -> Traffic:
    """A diskette's sectors in earnest, by DMA or without."""
    by_dma = random.random() < 0.7
    yield out(0x3F2, 0)
    yield out(0x3F2, 0x1C)
    yield Action("medium", 2, 1)
    yield out(0x3F7, 0)
    for value in (0x03, 0xDF, 2 if by_dma else 3):
        yield out(0x3F5, value)
    kind = random.choice((0x46, 0x46, 0xC6, 0x45, 0x45, 0xC5, 0x4D, 0x56, 0xD6, 0x4A))
    head, sector, end = random.getrandbits(1), random.choice((1, 1, 5, 18)), random.choice((18, 18, 1, 9))
    if by_dma:
        yield out(0xD6, 0xC0)
        yield out(0xD4, 0)
        yield out(0x0C, 0)
        where, count = (
            SCRATCH + 0x2_0000 + random.choice((0, 0xFF00)),
            random.choice((511, 511, 1023, 0xFFFF, 9215, 100)),
        )
        for port, value in ((4, where), (5, count)):
            yield out(port, value & 0xFF)
            yield out(port, value >> 8 & 0xFF)
        yield out(0x81, where >> 16)
        yield out(0x0B, 2 | random.choice((0x44, 0x64)) if kind & 0x1F == 6 else 2 | random.choice((0x48, 0x68)))
        yield out(0x0A, 2)
    if kind == 0x4D:
        identities = b"".join(bytes((0, head, number, 2)) for number in range(1, end + 1))
        yield Action("ram", SCRATCH + 0x2_0000, data=identities)
        words: tuple[int, ...] = (head << 2, 2, end, 0x1B, 0xF6)
    elif kind == 0x4A:
        words = (head << 2,)
    else:
        words = (head << 2 | random.choice((0, 0, 0x80)), 0, head, sector, 2, end, 0x1B, random.choice((0xFF, 1, 4)))
    for value in (kind, *words):
        yield out(0x3F5, value)
    for _ in range(random.choice((2, 20))):
        yield Action("time", 100_000_000)
        if not by_dma:
            yield Action("in", 0x3F5, 1, 512) if kind & 0x1F == 6 else Action("outs", 0x3F5, 1, data=bytes(512))
    yield Action("in", 0x3F5, 1, 7)


def isa_dma(random: Random, channel: int | None = None) -> Traffic:
    """A channel programmed; the first controller goes through the second."""
    chosen = random.randrange(8) if channel is None else channel
    second = chosen >= 4
    base, step, number = (0xC0, 2, chosen - 4) if second else (0, 1, chosen)
    if random.random() < 0.9:
        yield out(0xD6, 0xC0)
        yield out(0xD4, 0)
    yield out(base + 12 * step, 0)
    where = place(random, 24)
    for port, value in ((2 * number, where), (2 * number + 1, random.choice((0, 1, 511, 512, 0xFFFF)))):
        yield out(base + port * step, value & 0xFF)
        yield out(base + port * step, value >> 8 & 0xFF)
    yield out((0x87, 0x83, 0x81, 0x82, 0x8F, 0x8B, 0x89, 0x8A)[chosen], where >> 16)
    yield out(
        base + 11 * step,
        number | random.choice((0x44, 0x48, 0x40, 0x54, 0x64, 0x68, 0x58, 0xC0, random.getrandbits(8) & ~3)),
    )
    yield out(base + random.choice((10, 10, 10, 9, 15, 14)) * step, number | random.choice((0, 0, 4)))
    yield Action("in", base + random.choice((8, 15, 2 * number, 2 * number + 1)) * step, 1)
    if random.random() < 0.1:
        yield out(base + random.choice((8, 13)) * step, random.getrandbits(8))


class Rings:
    """Where a virtqueue's three parts are, and what a driver writes there."""

    def __init__(self, random: Random, size: int, descriptors: int, driver: int, device: int) -> None:
        self.random, self.size = random, size
        self.descriptors, self.driver, self.device = descriptors, driver, device
        self.available = 0

    def request(self) -> Traffic:
        """A chain, right or wrong, made available."""
        random, size = self.random, self.size
        head = random.randrange(size)
        count = random.choice((2, 3, 3, 3, 8, size))
        kind = random.choice((0, 0, 0, 1, 1, 1, 4, 8, 2, random.getrandbits(32)))
        sector = random.choice((0, 0, 1, 7, 39, 399, 400, 1 << 63))
        header = place(random) if random.random() < 0.05 else SCRATCH + 0x4_0000 + random.randrange(0x1000)
        yield Action("ram", header, data=struct.pack("<IIQ", kind, 0, sector))
        indirect = random.random() < 0.2
        table = place(random) if indirect else self.descriptors
        first = 0 if indirect else head
        for number in range(count):
            at = (first + number) % size
            following = (at + 1) % size
            flags = (number < count - 1) | (2 if number == count - 1 or (kind != 1 and number) else 0)
            where, n = (header, 16) if number == 0 else (_data(random), 1 if number == count - 1 else _bytes(random))
            if random.random() < 0.05:  # a loop, a direction, a nested table, a length
                match random.randrange(4):
                    case 0:
                        following = random.choice((at, at, first, first, size, random.getrandbits(16)))
                        flags |= 1
                    case 1:
                        flags ^= random.choice((1, 2, 4, 7, 0xFFF8))
                    case 2:
                        n = random.choice((0, 15, 0xFFFF_FFFF))
                    case _:
                        where = random.choice((table, self.driver, self.device))
            yield Action("ram", table + 16 * at, data=struct.pack("<QIHH", where & (1 << 64) - 1, n, flags, following))
        if indirect:
            entry = struct.pack(
                "<QIHH",
                table,
                random.choice((*[16 * count] * 8, 16, 15, 0, 1 << 20)),
                random.choice((4, 4, 4, 4, 5, 6)),
                0,
            )
            yield Action("ram", self.descriptors + 16 * head, data=entry)
        yield Action("ram", self.driver + 4 + 2 * (self.available % size), data=head.to_bytes(2, "little"))
        self.available = self.available + random.choice((*[1] * 20, 2, size, 0x8000)) & 0xFFFF
        flags = random.choice((0, 0, 1, 0xFFFF))
        yield Action("ram", self.driver, data=struct.pack("<HH", flags, self.available))
        yield Action(
            "ram", self.driver + 4 + 2 * size, data=random.choice((0, self.available, 0xFFFF)).to_bytes(2, "little")
        )


def _data(random: Random) -> int:
    """Mostly where nothing else is."""
    return place(random) if random.random() < 0.3 else SCRATCH + 0x5_0000 + random.randrange(0x2_0000)


def _bytes(random: Random) -> int:
    return length(random) if random.random() < 0.2 else 512 * random.choice((1, 1, 2, 8))


def virtio_legacy(random: Random) -> Traffic:
    base = random.choice(VIRTIO_PORTS)
    for status in (0, 1, 3):
        yield out(base + 0x12, status)
    yield out(base + 4, random.choice((0, 0x1000_0000, 0x3000_0000, 0x2000_0000, 0xFFFF_FFFF)), 4)
    yield out(base + 0xE, random.choice((0, 0, 0, 1, 0xFFFF)), 2)
    page = random.choice((*[SCRATCH >> 12] * 6, place(random, 44) >> 12, 0x3FF, 0xFFFF_FFFF))
    yield out(base + 8, page, 4)
    yield out(base + 0x12, random.choice((7, 7, 7, 0x87, 0xF)))
    descriptors = page << 12
    driver = descriptors + 16 * 256
    rings = Rings(random, 256, descriptors, driver, driver + 0x1000)
    yield Action("ram", driver, data=bytes(4))
    yield from _requests(random, rings, out(base + 0x10, random.choice((0, 0, 0, 1)), 2))
    yield Action(
        "in", base + random.choice((0, 4, 8, 0xC, 0xE, 0x12, 0x13, 0x14, 0x20, 0x34)), random.choice((1, 2, 4))
    )
    yield out(base + random.randrange(0x80), register(random, 1), random.choice((1, 2, 4)))


def virtio_modern(random: Random) -> Traffic:
    base = random.choice(VIRTIO_MEMORY)
    for status in (0, 1, 3):
        yield store(base + 0x14, status, 1)
    for select, features in (
        (0, random.choice((0, 0x1000_0000, 0x3000_0A76, 0x3000_0240))),
        (1, random.choice((1, 1, 1, 0, 3))),
    ):
        yield store(base + 8, select)
        yield store(base + 0xC, features)
    yield store(base + 0x14, 0xB, 1)
    yield store(base + 0x16, random.choice((0, 0, 0, 1)), 2)
    size = random.choice((256, 256, 256, 4, 16, 16, 2, 1, 3, 0, 512))
    yield store(base + 0x18, size, 2)
    size = size if size in (1, 2, 4, 16, 256) else 256
    places = [place(random) if random.random() < 0.1 else SCRATCH + 0x1000 * number for number in range(3)]
    for offset, address in zip((0x20, 0x28, 0x30), places, strict=True):
        yield store(base + offset, address & 0xFFFF_FFFF)
        yield store(base + offset + 4, address >> 32)
    yield store(base + 0x1C, 1, 2)
    yield store(base + 0x14, 0xF, 1)
    yield Action("ram", places[1], data=bytes(4))
    yield from _requests(random, Rings(random, size, *places), store(base + 0x3000, 0, 2))
    for _ in range(4):
        yield Action(
            "load",
            base + random.choice((0, 4, 8, 0x12, 0x14, 0x16, 0x18, 0x20, 0x1000, 0x2000, 0x2020)),
            random.choice((1, 2, 4, 8)),
        )
        yield store(
            base + random.choice((0, 8, 0x14, 0x16, 0x18, 0x2020)), register(random, 2), random.choice((1, 2, 4))
        )


def _requests(random: Random, rings: Rings, notify: Action) -> Traffic:
    for _ in range(random.choice((1, 2, 6))):
        yield from rings.request()
        yield notify
        yield _wait(random)


RECIPES = (
    disk, sectors, sectors, cdrom, cdrom, diskette, track, track, isa_dma,
    virtio_legacy, virtio_legacy, virtio_modern, virtio_modern,
)  # fmt: skip
