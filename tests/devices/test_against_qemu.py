"""Random port accesses, compared with QEMU's devices where QEMU follows the data sheets.

QEMU is driven through its qtest socket with the processor stopped. Left out is what QEMU does otherwise: its 8259
keeps a request whose input has fallen and lets a non-specific EOI end a masked level in special mask mode; its 16550
does not report changes of the modem lines, and interrupts when an empty FIFO is cleared; its clock works out the day of
the week.
"""

import random
from collections.abc import Callable, Iterator

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.chipset.pic8259 import Pic8259Pair
from bt.devices.device import Line
from bt.devices.input.i8042 import I8042
from bt.devices.serial.uart16550 import Uart16550
from bt.memory.bus import Bus
from tests.devices.qtest import Qemu, needs_qemu

pytestmark = needs_qemu

Access = tuple[str, int, int]  # "out", port, value; "in", port, mask of the bits to compare


class Ours:
    def __init__(self) -> None:
        self.ports = Bus("ports", 16)
        pic = Pic8259Pair(Line("INTR"))
        for start, offset in ((0x20, 0), (0xA0, 2), (0x4D0, 4)):
            self.ports.attach(pic, start, 2, offset)
        controller = I8042(pic.line(1), pic.line(12), lambda enabled: None, lambda: None)
        for start, offset in ((0x60, 0), (0x64, 1)):
            self.ports.attach(controller, start, 1, offset)
        self.ports.attach(CmosRtc(VirtualClock(), pic.line(8), 64 << 20), 0x70, 2)
        self.ports.attach(Uart16550(pic.line(4), lambda character: None), 0x3F8, 8)

    def inb(self, port: int) -> int:
        return self.ports.read(port, 1)

    def outb(self, port: int, value: int) -> None:
        self.ports.write(port, 1, value)


@pytest.fixture(scope="module")
def qemu() -> Iterator[Qemu]:
    with Qemu() as qemu:
        yield qemu


def replay(machine: Qemu | Ours, accesses: list[Access]) -> list[str]:
    """The accesses as lines of text, with what was read."""
    lines = []
    for kind, port, value in accesses:
        if kind == "out":
            machine.outb(port, value)
            lines.append(f"out {port:#x}, {value:#04x}")
        else:
            lines.append(f"in {port:#x} -> {machine.inb(port) & value:#04x}")
    return lines


def pic_accesses(rng: random.Random) -> Iterator[Access]:
    """Requests of a UART, and one of keyboard or mouse, that do not fall unserved; the cascade stays masked."""
    for port, value in ((0x3F9, 0), (0x3FC, 8), (0x64, 0x60), (0x60, 3)):
        yield "out", port, value
    for _ in range(3):
        yield "in", 0x60, 0x00  # empties the buffer of what an earlier run left
    for chip, base, wiring in ((0x20, 0x20, 4), (0xA0, 0x28, 2)):
        yield "out", chip, 0x11
        for value in (base, wiring, rng.choice([1, 1, 3, 0x11]), 4):
            yield "out", chip + 1, value
    keyboard_controller_is_free = True
    special_mask = {0x20: False, 0xA0: False}
    for _ in range(80):
        chip = rng.choice([0x20, 0xA0])
        compared = 0xFB if chip == 0x20 else 0xFF  # the cascade's request is kept by QEMU
        match rng.randrange(9):
            case 0:
                yield "out", chip + 1, rng.choice([0, 0xFF, rng.randrange(256)]) | 4
            case 1:
                non_specific_eoi = [] if special_mask[chip] else [0x20, 0xA0]
                yield "out", chip, rng.choice([0x00, 0x40, 0x80, *non_specific_eoi])
            case 2:
                yield "out", chip, rng.choice([0x60, 0xC0, 0xE0]) | rng.randrange(8)
            case 3:
                special_mask[chip] = not special_mask[chip]
                yield "out", chip, 0x68 if special_mask[chip] else 0x48
            case 4:
                yield "out", chip, 0x0C
                yield "in", chip, 0xFF
            case 5:
                for read_register in (0x0A, 0x0B):
                    yield "out", chip, read_register
                    yield "in", chip, compared
            case 6:
                yield "out", 0x3F9, 0
                yield "out", 0x3F9, 2
            case 7 if keyboard_controller_is_free:
                keyboard_controller_is_free = False
                yield "out", 0x64, rng.choice([0xD2, 0xD3])
                yield "out", 0x60, 1
            case _:
                yield "in", chip + 1, 0xFF


def uart_accesses(rng: random.Random) -> Iterator[Access]:
    for offset, value in ((3, 3), (4, 0x10), (2, 7), (4, 0), (1, 0), (7, 0)):
        yield "out", 0x3F8 + offset, value
    for offset in (2, 5, 6):
        yield "in", 0x3F8 + offset, 0x00
    loopback = False
    for _ in range(80):
        match rng.randrange(9):
            case 0:
                yield "out", 0x3F9, rng.randrange(8)
            case 1:
                yield "out", 0x3F9, 0
                yield "out", 0x3FA, rng.choice([0, 1, 3, 7])
            case 2:
                value = rng.choice([0x00, 0x08, 0x18, 0x1F, 0x1A, 0x14, 0x10, 0x03])
                loopback = bool(value & 0x10)
                yield "out", 0x3FC, value
            case 3 if not loopback:
                yield "out", 0x3F8, rng.randrange(256)
            case 4:
                for port, value in ((0x3FB, 0x83), (0x3F8, rng.randrange(1, 256)), (0x3F9, rng.randrange(256))):
                    yield "out", port, value
                yield "in", 0x3F8, 0xFF
                yield "in", 0x3F9, 0xFF
                yield "out", 0x3FB, 3
            case 5:
                yield "out", 0x3FF, rng.randrange(256)
            case _:
                offset = rng.choice([1, 2, 2, 3, 4, 5, 6, 7])
                yield "in", 0x3F8 + offset, 0xF0 if offset == 6 else 0xFF


def cmos_accesses(rng: random.Random) -> Iterator[Access]:
    indices = [0, 1, 2, 3, 4, 5, 7, 8, 9, 0x0B, 0x0D, 0x15, 0x16, 0x17, 0x18, 0x30, 0x31, 0x32, 0x34, 0x35]
    for control in (0x82, 0x02):
        yield "out", 0x70, 0x0B
        yield "out", 0x71, control
        if control & 0x80:
            date = [0, 0, 0x59, 0, 0x23, 0, 1, 0x28, 0x02, rng.randrange(10)]
            for index, value in enumerate(date):
                yield "out", 0x70, index
                yield "out", 0x71, value
    for index in rng.sample(indices, len(indices)):
        yield "out", 0x70, index
        yield "in", 0x71, 0xFF


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("accesses", [pic_accesses, uart_accesses, cmos_accesses])
def test_same_answers(qemu: Qemu, accesses: Callable[[random.Random], Iterator[Access]], seed: int) -> None:
    script = list(accesses(random.Random(seed)))
    assert replay(Ours(), script) == replay(qemu, script)
