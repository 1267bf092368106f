"""Random register traffic: guests see the same, at the same instructions, whoever answers."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from bt.clock.virtual_clock import NS_PER_SECOND
from bt.devices.apic.local_apic import LocalApic
from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.device import Device, Line
from bt.devices.display.memory import APERTURE, APERTURE_BYTES, VGA_BYTES
from bt.devices.display.registers import FIRST_PORT, PORTS
from bt.devices.display.vga import Vga
from bt.devices.display.vga_native import PAGE_BITS
from bt.devices.pci.piix4_pm import PmRegisters
from bt.devices.storage.ata.ata_disk import AtaDisk
from bt.devices.storage.ata.atapi_cdrom import AtapiCdrom
from bt.devices.storage.ata.bus_master_ide import BusMasterIde
from bt.devices.storage.ata.ide_channel import IdeChannel
from bt.disks.disk import Disk
from bt.engine.library.library import Library, load_library
from bt.machine import EngineName, Machine
from bt.memory.bus import Bus
from tests.devices.native.rig import ENGINES, RESULTS, Access, Run, difference
from tests.disks.memory_image import MemoryImage
from tests.everyday import everyday

SEEDS = range(6)
ACCESSES = 400
LOOPS = (0, 0, 0, 1, 7, 100, 3000, 20_000)
UART, PM, IDE, BUS_MASTER, APIC = 0x3F8, 0x600, 0x1F0, 0xC000, 0xFEE0_0000
APIC_REGISTERS = (
    0x20, 0x30, 0x80, 0xA0, 0xD0, 0xE0, 0xF0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x380, 0x390, 0x390, 0x3E0, 0x3F0,
    *range(0x100, 0x280, 0x10),
)  # fmt: skip


@pytest.fixture(scope="module")
def library() -> Iterator[Library]:
    loaded = load_library()
    yield loaded
    loaded.close()


def timers(random: Random) -> Access:
    """8254 and port 61h."""
    match random.randrange(8):
        case 0:
            return Access("out8", 0x43, random.choice((0x34, 0x36, 0x30, 0xB0, 0xB6, 0xB4, 0x72, 0xB8, 0xBA, 0x35)))
        case 1:
            return Access("out8", 0x43, random.choice((0x00, 0x40, 0x80, 0xD2, 0xC2, 0xE2, random.randrange(256))))
        case 2:
            return Access("out8", random.randrange(0x40, 0x43), random.randrange(256))
        case 3:
            return Access("out8", 0x61, random.randrange(4))
        case 4:
            return Access("in8", 0x61)
        case _:
            return Access(random.choice(("in8", "in8", "in8", "in16")), random.randrange(0x40, 0x44))


def serial(random: Random) -> Access:
    """UART, port E9h and the POST port, whose output keeps its order."""
    match random.randrange(9):
        case 0:
            return Access("out8", UART + 3, random.choice((0x03, 0x03, 0x00, 0x83)))
        case 1:
            return Access("out8", UART + 1, random.choice((0, 0, 1, 2, 7, 15)))
        case 2:
            return Access("out8", UART + random.choice((2, 4, 7)), random.randrange(32))
        case 3 | 4:
            return Access("out8", UART, random.choice((10, *range(32, 256))))
        case 5:
            return Access("out8", 0xE9, random.choice((10, *range(32, 256))))
        case 6:
            return Access("out8", random.randrange(0x80, 0x90), random.randrange(256))
        case 7:
            return Access("in16", UART + random.randrange(7))
        case _:
            return Access("in8", random.choice((0xE9, 0x80, *range(UART, UART + 8))))


def pic(random: Random) -> Access:
    """The 8259s, and what interrupts: 8254, RTC, UARTs. The guest has interrupts disabled: polls serve requests."""
    chip = random.choice((0x20, 0x20, 0xA0))
    match random.randrange(16):
        case 0:
            return random.choice(
                (Access("out8", 0x43, 0x34), Access("out8", 0x40, random.randrange(256)), Access("out8", 0x40, 9))
            )
        case 1:
            return random.choice((Access("out8", 0x70, 0x0B), Access("out8", 0x71, 0x42), Access("in8", 0x71)))
        case 2:
            return Access("out8", random.choice((UART, 0x2F8)) + random.choice((1, 4)), random.choice((0, 2, 8, 15)))
        case 3:
            return Access("out8", chip, random.choice((0xE7, 0xC7, 0xC7, 0x48, 0x48, 0x68, random.randrange(256))))
        case 4:
            return Access("out8", random.choice((0x4D0, 0x4D1)), random.choice((0, 0, 0x20, 0x08)))
        case 5 | 6:
            return Access("out8", chip, 0x0C)  # poll
        case 7 | 8 | 9:
            return Access("out8", chip, random.choice((0x20, 0x60 | random.randrange(8), 0x0A, 0x0B)))
        case 10 | 11 | 12:
            return Access("out8", chip + 1, random.choice((0x00, 0xFB, 0xFF, 0x01, random.randrange(256))))
        case _:
            return Access(random.choice(("in8", "in8", "in8", "in16")), chip + random.randrange(2))


def rtc(random: Random) -> Access:
    """The first second ends after a millisecond (`more_devices`): an update in progress is seen, too."""
    match random.randrange(8):
        case 0:
            return Access("out8", 0x71, random.choice((0x26, 0x02, 0x82, 0x06, 0x20, 0x70, random.randrange(256))))
        case 1 | 2 | 3:
            return Access("out8", 0x70, random.choice((*range(0x10), 0x32, 0x8A, 0x15, random.randrange(256))))
        case 4:
            return Access(random.choice(("in8", "in16", "out16")), random.choice((0x70, 0x71)), 0x0A)
        case _:
            return Access("in8", 0x71)


def keyboard(random: Random) -> Access:
    match random.randrange(4):
        case 0:
            return Access("out8", 0x64, random.choice((0x20, 0x60, 0xAA, 0xAD, 0xAE, 0xD0, 0xD2, 0xC0)))
        case 1:
            return Access("out8", 0x60, random.choice((0x00, 0x45, 0xED, 0xEE, 0xF2, 0xF4, 0xFF)))
        case 2:
            return Access("in8", 0x60)
        case _:
            return Access("in8", 0x64)


def local_apic(random: Random) -> Access:
    """In memory, so any instruction may access it, also more than once, and at odd sizes."""
    register = random.choice(APIC_REGISTERS)
    match random.randrange(12):
        case 0 | 1:
            return Access("write32", APIC + 0xB0, random.randrange(2))
        case 2:
            return Access("write32", APIC + 0x80, random.choice((0, 0x30, 0x41, 0xFF, 0x120)))
        case 3:
            shorthand = random.choice((0x40000, 0x40000, 0x80000, 0xC0000, 0, 0x800))
            return Access(
                "write32", APIC + 0x300, shorthand | random.choice((0, 0, 0, 0x100, 0x400)) | random.randrange(256)
            )
        case 4:
            value = {
                0xF0: random.choice((0x1FF, 0x1FF, 0x10F, 0xFF)),
                0x310: random.choice((0, 1, 0xFF)) << 24,
                0x320: random.choice((0x40, 0x20040, 0x10041)),
                0x380: random.choice((0, 1, 10, 20_000, 0xFFFF_FFFF)),
                0x3E0: random.randrange(16),
            }.get(register, random.randrange(256))
            return Access("write32", APIC + register, value)
        case 5:
            kind = random.choice(("or32", "write8", "write16", "xchg8", "rep_stosb"))
            return Access(kind, APIC + random.choice((0x80, 0x82, 0xB0, 0x310)), random.randrange(64))
        case 6:
            return Access(random.choice(("read8", "read16", "rep_movsd")), APIC + register + random.randrange(3), 3)
        case 7:
            return Access("cmpsd", APIC + 0x390)
        case _:
            return Access("read32", APIC + register)


def pm(random: Random) -> Access:
    if random.randrange(6) == 0:
        return Access(
            random.choice(("out16", "out8")), PM + random.choice((0, 2, 4)), random.choice((1, 0x121, 0xFFFF))
        )
    return Access(random.choice(("in32", "in32", "in32", "in16", "in8")), PM + random.choice((0, 4, 8, 8, 8)))


def ide(random: Random) -> Access:
    """Sectors of two devices, by any width, also beyond the end of a block."""
    match random.randrange(16):
        case 0:
            return Access("out8", IDE + 7, random.choice((0x20, 0x30, 0x20, 0x30, 0xEC, 0xC4, 0xC5, 0xA0, 0x91, 0xA1)))
        case 1:
            return Access("out8", IDE + random.choice((2, 3)), random.choice((1, 2, 3)))
        case 2:
            return Access("out8", IDE + 6, random.choice((0xE0, 0xE0, 0xE0, 0xF0)))
        case 3:
            return Access("out8", 0x3F6, random.choice((0, 0, 0, 0x80, 0x80, 2, 4)))
        case 4:
            return Access("rep_insw", IDE, random.choice((1, 5, 100, 255, 256, 300)))
        case 5:
            return Access("rep_insd", IDE, random.choice((1, 64, 127, 128)))
        case 6:
            return Access("rep_outsw", IDE, random.choice((1, 6, 255, 256)))
        case 7:
            return Access("in8", IDE + random.randrange(1, 8))
        case 13:
            return Access("out8", IDE + random.randrange(1, 6), random.randrange(256))
        case 14:
            place = random.randrange(1, 7)
            return Access(
                random.choice(("out8", "out16")), IDE + place, random.randrange(256) & (~0x10 if place == 6 else -1)
            )
        case 8:
            return Access(random.choice(("out16", "out32", "out8")), IDE, random.randrange(1 << 32))
        case 9 | 10:
            return Access("in8", random.choice((IDE + 7, 0x3F6)))
        case _:
            return Access(random.choice(("in16", "in16", "in32", "in8")), IDE)


def bus_master(random: Random) -> Access:
    """Its registers; the channel has no device that would move anything."""
    place = random.randrange(8)
    match random.randrange(6):
        case 0:
            return Access("out8", BUS_MASTER, random.choice((0, 1, 8, 9, 0xFF)))
        case 1:
            return Access("out8", BUS_MASTER + 2, random.randrange(256))
        case 2:
            return Access("out32", BUS_MASTER + 4, random.randrange(1 << 32))
        case 3:
            return Access(random.choice(("out8", "out16", "out32")), BUS_MASTER + place, random.randrange(1 << 32))
        case _:
            return Access(random.choice(("in8", "in8", "in16", "in32")), BUS_MASTER + random.choice((0, 2, place)))


def vga(random: Random) -> Access:
    """Planar memory in all modes, retrace, and now and then chain 4, odd/even or no memory at all."""
    place = APERTURE + random.choice((0, 0, 0, 0xFFF, 0x7FFF, 0xFFFD, 0x18000)) + random.randrange(40)
    match random.randrange(16):
        case 0 | 1:
            return Access("out16", 0x3CE, random.randrange(9) | random.randrange(256) << 8)
        case 2:
            return Access("out16", 0x3CE, 5 | random.choice((0, 0, 1, 2, 3, 8, 8, 9, 10, 11, 0x10)) << 8)
        case 3:
            return Access("out16", 0x3CE, 6 | random.choice((1, 1, 5, 5, 5, 0xD)) << 8)
        case 4:
            mode = random.choice((6, 6, 6, 6, 6, 6, 14))
            return Access("out16", 0x3C4, random.choice((4 | mode << 8, 2 | random.randrange(16) << 8)))
        case 5:
            return Access("out8", random.choice((0x3C4, 0x3C5, 0x3CE, 0x3CF)), random.choice((2, 4, 5, 6, 8, 15, 255)))
        case 6:
            return Access("out8", 0x3C2, random.choice((0x63, 0xE3, 0x63, 0x63, 0x67, 0x6B, 0x62, 0x61)))
        case 7:
            return Access("out16", 0x3D4, random.choice((0x2D00, 0x5F00, 0x2811, 0x0B06, 0xBF06, 0x9C10, 0x8F12)))
        case 8 | 9:
            return Access("in8", random.choice((0x3DA, 0x3DA, 0x3DA, 0x3BA, 0x3CF, 0x3C5, 0x3C0)))
        case 10:
            return Access("out8", 0x3C0, random.randrange(64))
        case 11:
            return Access(random.choice(("or32", "xchg8", "cmpsd")), place, random.randrange(1 << 32))
        case 12:
            return Access(random.choice(("rep_stosb", "rep_movsd")), place, random.randrange(1, 64))
        case 13:
            return Access(random.choice(("read8", "read16", "read32")), place)
        case _:
            return Access(random.choice(("write8", "write16", "write32")), place, random.randrange(1 << 32))


# of the exits; often there is nothing to transfer, memory is not planar, or the 8259s are in a special mode
MOST = {"ide": 0.99, "vga": 0.9, "pic": 0.9}
TRAFFIC = {
    "timers": timers,
    "serial": serial,
    "pic": pic,
    "rtc": rtc,
    "keyboard": keyboard,
    "local_apic": local_apic,
    "pm": pm,
    "ide": ide,
    "bus_master": bus_master,
    "vga": vga,
}


# What comes before: video memory is switched on, the 8259s are initialized and the 8254 interrupts every 84 us.
FIRST = {
    "vga": [Access("out8", 0x3C2, 0x63), Access("out16", 0x3C4, 0x0604)],
    "pic": [
        Access("out8", port, value)
        for port, values in ((0x20, b"\x11"), (0x21, b"\x08\x04\x01\x00"), (0xA0, b"\x11"), (0xA1, b"\x70\x02\x01\x00"),
                             (0x43, b"\x34"), (0x40, b"\x64\x00"))
        for value in values
    ],
}  # fmt: skip


def more_devices(machine: Machine) -> list[Device]:
    """What is not on every board."""
    machine.board.part("RTC", CmosRtc)._phase_ns = 1_000_000 - NS_PER_SECOND
    intr = Line("INTR of the local APIC")
    intr.watch(machine.cpu.set_intr)
    apic = LocalApic(machine.clock, intr, external=lambda: 0, nmi=lambda: None)
    apic.set_up_virtual_wire()
    power = PmRegisters(machine.clock, Line("SCI"), power_off=lambda: None)
    machine.mmio.attach(apic, APIC, 0x1000)
    machine.ports.attach(power, PM, 64)
    for start, length in ((IDE, 8), (0x3F6, 1), (BUS_MASTER, 8), (FIRST_PORT, 0x30)):
        make_room(machine.ports, start, length)
    make_room(machine.mmio, APERTURE, APERTURE_BYTES)
    channel = IdeChannel(machine.board.pic.line(14).driver("IDE"))
    channel.connect(AtaDisk(machine.clock, Disk(MemoryImage(Random(3).randbytes(64 * 512)))), 0)
    channel.connect(AtapiCdrom(machine.clock, Disk(MemoryImage(Random(4).randbytes(64 * 2048)))), 1)
    machine.ports.attach(channel, IDE, 8)
    machine.ports.attach(channel, 0x3F6, 1, offset=8)
    interrupt = machine.board.pic.line(9).driver("IDE 2")
    master = BusMasterIde(machine.board.dma_memory, interrupt, started=lambda: pulse(interrupt))
    machine.ports.attach(master, BUS_MASTER, 8)
    picture = Picture(machine)
    for port, count in PORTS:
        machine.ports.attach(picture.screen.registers, port, count, offset=port - FIRST_PORT)
    machine.mmio.attach(picture.screen.memory, APERTURE, APERTURE_BYTES)
    return [apic, power, channel, master, picture.screen.registers, picture.screen.memory, picture]


def pulse(interrupt: Line) -> None:
    interrupt.set(True)
    interrupt.set(False)


def make_room(bus: Bus, start: int, length: int) -> None:
    """What the board has there goes."""
    for region in bus.regions:
        if region.start < start + length and start < region.end:
            bus.detach(region)


class Picture(Device):
    """A VGA's memory, which is no device's state, and what of it was stored to."""

    def __init__(self, machine: Machine) -> None:
        super().__init__("picture")
        self.stored: set[int] = set()
        self.screen = Vga(machine.clock, bytearray(VGA_BYTES), stored=self._note)
        self.screen.memory.note_stores_through(machine.board.outputs)

    def _note(self, start: int, length: int) -> None:
        self.stored.update(range(start >> PAGE_BITS, (start + length - 1 >> PAGE_BITS) + 1))

    def state(self) -> dict[str, Any]:
        return {"bytes": b64encode(bytes(self.screen.buffer)).decode(), "stored": sorted(self.stored)}

    def restore(self, state: dict[str, Any]) -> None:
        self.screen.buffer[:] = b64decode(state["bytes"])


def accesses(kind: str, seed: int) -> list[Access]:
    random = Random(f"{kind} {seed}")
    return FIRST.get(kind, []) + [TRAFFIC[kind](random)._replace(loops=random.choice(LOOPS)) for _ in range(ACCESSES)]


def through(library: Library, engine: EngineName, traffic: list[Access], *, native: bool) -> dict[str, Any]:
    """What is seen in one go, with something to receive in the middle."""
    run = Run.of(library, engine, traffic, native=native, attach=more_devices)
    try:
        if not run.go(max_insns=50_000):
            run.machine.com1.receive(b"What was typed meanwhile, more than a FIFO takes.")
            run.go()
        return run.seen() | {"exits": run.machine.exits}
    finally:
        run.close()


def in_pieces(library: Library, kind: str, seed: int) -> dict[str, Any]:
    """What is seen by a guest that is moved, now and then, to another machine."""
    random = Random(seed)
    traffic = accesses(kind, seed)
    run = Run.of(library, "bt", traffic, native=True, attach=more_devices)
    moves = 0
    while not run.go(max_insns=random.randrange(1, 100_000) if moves else 50_000):
        if not moves:
            run.machine.com1.receive(b"What was typed meanwhile, more than a FIFO takes.")
        snapshot, before, exits = run.machine.snapshot(), run, run.machine.exits
        picture = run.devices[-1].state()
        run.close()
        moves += 1
        run = Run.of(library, ENGINES[moves % 2], traffic, native=moves % 3 != 0, attach=more_devices)
        run.devices[-1].restore(picture)
        run.machine.restore(snapshot)
        run.sent[:], run.edges[:] = before.sent, before.edges
        assert run.machine.exits == exits
    assert moves > 20
    seen = run.seen()
    del seen["devices"]["picture"]["stored"]  # all of it, after a restore
    run.close()
    return seen


@pytest.mark.parametrize("kind", everyday(TRAFFIC, {"ide"}))
def test_snapshots_have_what_is_shared(library: Library, kind: str) -> None:
    python = through(library, "interp", accesses(kind, 0), native=False)
    del python["devices"]["picture"]["stored"]
    assert difference(in_pieces(library, kind, 0), python) == ""


@pytest.mark.parametrize("kind", TRAFFIC)
@pytest.mark.parametrize("seed", everyday(SEEDS, {0, 1}))
def test_python_and_native_code_answer_alike(library: Library, kind: str, seed: int) -> None:
    compare(library, accesses(kind, seed), MOST.get(kind, 0.75))


def compare(library: Library, traffic: list[Access], most: float) -> None:
    """Both engines with native code do what Python alone does, with at most so many of its exits."""
    python = through(library, "bt", traffic, native=False)
    exits = python.pop("exits")
    for engine in ENGINES:
        native = through(library, engine, traffic, native=True)
        fewer = native.pop("exits")
        assert difference(native, python) == "", f"{engine}, not as Python"
        assert sum(fewer.values()) < most * sum(exits.values()), "native code has answered"


def test_a_character_sent_makes_an_interrupt_that_is_enabled_later(library: Library) -> None:
    enable, identify = Access("out8", UART + 1, 2), Access("in8", UART + 2)
    send, disable = Access("out8", UART, 65), Access("out8", UART + 1, 0)
    compare(library, [enable, identify, disable, send, Access("in8", UART + 5)] * 3, most=0.95)


def test_sectors_are_few_exits(library: Library) -> None:
    """Not one for each word: each block of three ends with one, by which the next begins."""
    command = [Access("out8", IDE + place, value) for place, value in ((6, 0xE0), (2, 3), (3, 0), (4, 0), (5, 0))]
    blocks = [Access("rep_insw", IDE, 256, 20_000)] * 3
    transfer = [*command, Access("out8", IDE + 7, 0x20, 200_000), *blocks]
    run = Run.of(library, "bt", transfer, native=True, attach=more_devices)
    assert run.go()
    assert run.machine.ram.read(RESULTS, 3 * 512) == Random(3).randbytes(64 * 512)[: 3 * 512]
    assert run.machine.exits["io"] == 1 + 3 + 1, "the command, the blocks, the run's end"
    run.close()
    compare(library, transfer, most=0.1)


PLANAR = [
    Access("out8", 0x3C2, 0x63),
    *(Access("out16", 0x3C4, value) for value in (0x0604, 0x0F02)),
    *(Access("out16", 0x3CE, value) for value in (0x0005, 0x0506)),
]


def test_planar_stores_are_told_of(library: Library) -> None:
    stores = [Access("write8", APERTURE + place, 1) for place in (0, 0x3FF, 0x400, 0x1000, 0xFFFF)]
    compare(library, [*PLANAR, *stores], most=0.9)
    run = Run.of(library, "bt", stores, native=True, attach=more_devices)
    for access in PLANAR:
        run.machine.ports.write(access.address, 1 if access.kind == "out8" else 2, access.value)
    picture = run.devices[-1]
    assert isinstance(picture, Picture)
    picture.stored.clear()  # a change of modes rearranges all of it
    assert run.go()
    assert picture.state()["stored"] == [0, 1, 4, 63]
    run.close()


@pytest.mark.parametrize("value", [0x0205, 0x0F01, 0x1803, 0x3C08])
def test_python_draws_with_what_native_code_has_set(library: Library, value: int) -> None:
    """As a monitor does that writes to memory."""
    traffic = [*PLANAR, Access("out16", 0x3CE, 0x0F00), Access("out16", 0x3CE, 0xFF08), Access("out16", 0x3CE, value)]
    pictures = []
    for native in (False, True):
        run = Run.of(library, "bt", traffic, native=native, attach=more_devices)
        assert run.go()
        run.machine.mmio.write(APERTURE, 4, 0x12345678)
        pictures.append((run.machine.mmio.read(APERTURE, 4), run.devices[-1].state()))
        run.close()
    assert pictures[0] == pictures[1]
