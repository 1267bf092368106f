"""The VGA against QEMU's std VGA: registers, memory through the aperture, the display interface, screens.

Left out is what QEMU does otherwise: its DAC stores eight bits of six and has no PEL mask; it shows 6-bit colours as
v * 4 + (v & 1) * 3, up to three steps from ours; it does not blink, draws lines with B0h-BFh too, has no 18 dots; its
odd/even and chain 4 go past the graphics controller; what is stored in a planar DISPI mode is not seen; it obeys
the bank of a mode that was left.
"""

import random
from collections.abc import Iterator

import pytest

from bt.devices.display.render import image
from tests.devices.display.modes import (
    APERTURE,
    MODES,
    Access,
    Ours,
    font_access,
    indexed,
    mode_set,
    palette,
)
from tests.devices.qtest import Qemu, needs_qemu
from tests.everyday import everyday, one_in

pytestmark = needs_qemu

CHANNEL_STEPS = 3  # see above
CHARACTERS = [*range(0xB0), *range(0xC0, 0x100)]


class Both:
    """The same traffic to both; reads are compared at the end, which is a hundred times faster."""

    def __init__(self, qemu: Qemu) -> None:
        self.qemu, self.ours = qemu, Ours()
        self._commands: list[str] = []
        self._expected: list[tuple[int | None, int]] = []  # a value and which bits to compare

    def out(self, accesses: Iterator[Access]) -> None:
        for port, value in accesses:
            self._do(f"inb {port:#x}" if value is None else f"outb {port:#x} {value:#x}")
            self.ours.out(iter([(port, value)]))

    def in_(self, port: int, mask: int = 0xFF) -> None:
        self._do(f"inb {port:#x}", self.ours.port_in(port) & mask, mask)

    def dispi(self, index: int, value: int | None = None) -> None:
        self._do(f"outw 0x1ce {index:#x}")
        if value is not None:
            self._do(f"outw 0x1cf {value:#x}")
        self._do("inw 0x1cf", self.ours.dispi(index, value))

    def store(self, address: int, data: bytes) -> None:
        self.ours.store(address, data)
        self._do(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def load(self, address: int) -> None:
        self._do(f"readb {address:#x}", self.ours.load(address, 1)[0])

    def _do(self, command: str, expected: int | None = None, mask: int = 0xFFFF) -> None:
        self._commands.append(command)
        self._expected.append((expected, mask))

    def compare(self) -> None:
        answers = self.qemu.ask_all(self._commands)
        differences = [
            (number, command, expected, answer)
            for number, (command, (expected, mask), answer) in enumerate(
                zip(self._commands, self._expected, answers, strict=True)
            )
            if expected is not None and int(answer[0], 16) & mask != expected
        ]
        assert differences[:5] == []


@pytest.fixture(scope="module")
def qemu() -> Iterator[Qemu]:
    with Qemu("-machine", "pc", "-vga", "std", "-nodefaults", qmp=True) as qemu:
        yield qemu


@pytest.fixture
def both(qemu: Qemu) -> Both:
    qemu.reset()
    both = Both(qemu)
    for enable in (0, 1, 0):  # memory survives resets: a mode of 16 MiB clears it
        for index, value in ((4, enable), (1, 4096), (2, 4096), (3, 8), (6, 0), (8, 0), (9, 0)):
            both.dispi(index, value)
    both.dispi(4, 1)
    both.dispi(4, 0)
    return both


@pytest.mark.parametrize("seed", everyday(range(5), {0}))
def test_registers(both: Both, seed: int) -> None:
    rng = random.Random(seed)
    both.out(iter([(0x3C2, 0x01)]))
    for _ in range(400):
        match rng.randrange(10):
            case 0:
                both.out(iter([(0x3C2, rng.randrange(256))]))
                both.in_(0x3CC)
            case 1:
                both.out(iter([(rng.choice([0x3BA, 0x3DA]), rng.randrange(256))]))
                both.in_(0x3CA)
            case 2:
                both.in_(rng.choice([0x3BA, 0x3DA]), 0xF6)
            case 3:
                both.out(iter([(0x3C0, rng.choice([rng.randrange(256), rng.randrange(0x15)]))]))
            case 4:
                both.in_(rng.choice([0x3C0, 0x3C1]))
            case 5:
                both.out(iter([(rng.choice([0x3C7, 0x3C8]), rng.randrange(256))]))
            case 6:
                for _ in range(3):
                    both.out(iter([(0x3C9, rng.randrange(256))]))
            case 7:
                for port, mask in ((0x3C9, 0x3F), (0x3C7, 0xFF), (0x3C8, 0xFF), (0x3C2, 0xFF)):
                    both.in_(port, mask)
            case _:
                port = rng.choice([0x3C4, 0x3CE, 0x3D4, 0x3B4])
                both.out(indexed(port, rng.randrange(0x19), rng.randrange(256)))
                both.in_(port)
                both.in_(port + 1)
    both.compare()


@pytest.mark.parametrize("seed", everyday(range(6), {0}))
@pytest.mark.parametrize("kind", ["planar", "chain 4", "odd/even"])
def test_memory(both: Both, kind: str, seed: int) -> None:
    rng = random.Random(seed)
    planar, odd_even = kind == "planar", kind == "odd/even"
    both.out(mode_set(MODES[{"planar": 0x12, "chain 4": 0x13, "odd/even": 0x03}[kind]]))
    start = 0xB8000 if odd_even else APERTURE
    registers = {  # of the graphics controller, with the values it may have
        "planar": ((0, 16), (1, 16), (2, 16), (3, 32), (4, 4), (5, 4), (5, 16), (7, 16), (8, 256)),
        "chain 4": ((2, 16), (4, 4), (7, 16)),
        "odd/even": ((2, 16), (7, 16)),
    }[kind]
    for _ in range(500):
        address = start + rng.choice([rng.randrange(8), rng.randrange(0x8000 - 4)])
        match rng.randrange(6):
            case 0 | 1:
                index, values = rng.choice(registers)
                both.out(indexed(0x3CE, index, rng.randrange(values) & (0xB if planar and index == 5 else 0xFF)))
            case 2 if not odd_even:
                both.out(indexed(0x3C4, 2, rng.randrange(16)))
            case 2 | 3:
                both.store(address, rng.randbytes(rng.choice([1, 2, 4])))
            case _:
                both.load(address)
    both.compare()


@pytest.mark.parametrize("seed", everyday(range(5), {0}))
def test_dispi_registers(both: Both, seed: int) -> None:
    rng = random.Random(seed)
    sizes = [0, 1, 7, 8, 9, 640, 801, 1024, 1366, 2048, 4096, 12001, 16001, 20000, 65535]
    for _ in range(60):
        both.dispi(4, 0)
        for index in (1, 2, 6, 8, 9):
            both.dispi(index, rng.choice(sizes))
        both.dispi(3, rng.choice([0, 4, 8, 15, 16, 24, 32, 33]))
        both.dispi(4, 0x81 | rng.choice([0, 0x40, 0x20]))
        for _ in range(rng.randrange(4)):
            both.dispi(rng.choice([1, 2, 6, 8, 9]), rng.choice(sizes))
        both.dispi(5, rng.randrange(65536))
        for index in range(13):
            both.dispi(index)
        both.dispi(4, 0x83)
        for index in range(1, 4):
            both.dispi(index)
        both.dispi(0, 0xB0BE + rng.randrange(10))
        for index in (0x01, 0x07, 0x09, 0x12, 0x13, 0x17, 0x18):
            both.out(iter([(0x3C2, 0x03), (0x3D4, index)]))
            both.in_(0x3D5)
        for index in (5, 6):
            both.out(iter([(0x3CE, index)]))
            both.in_(0x3CF)
    both.compare()


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_banks(both: Both, bits: int) -> None:
    rng = random.Random(bits)
    for index, value in ((1, 800), (2, 600), (3, bits), (4, 1)):
        both.dispi(index, value)
    for _ in range(150):
        address = APERTURE + rng.choice([rng.randrange(8), rng.randrange(0xFFF8), 0x10000])
        match rng.randrange(3):
            case 0:
                both.dispi(5, rng.randrange(20))
            case 1:
                both.store(address, rng.randbytes(rng.choice([1, 2, 4])))
            case _:
                both.load(address)
    both.compare()


def same_screen(both: Both, within: int) -> None:
    """Our pixels against QEMU's, channel by channel."""
    both.compare()
    width, height, theirs = both.qemu.screendump()
    ours = image(both.ours.vga)
    assert (ours.width, ours.height) == (width, height)
    differences = [
        (n // 3 % width, n // 3 // width, a, b)
        for n, (a, b) in enumerate(zip(ours.rgb, theirs, strict=True))
        if abs(a - b) > within
    ]
    assert differences[:5] == []


TEXT_VARIANTS = ("plain", "scrolled", "two fonts", "no line graphics", "eight dots", "half lines", "no planes")


@pytest.mark.parametrize(("number", "variant"), [*one_in(3, [0x03], TEXT_VARIANTS), (0x01, "eight dots")])
def test_text_screen(both: Both, number: int, variant: str) -> None:
    rng = random.Random(number)
    both.out(mode_set(MODES[number]))
    both.out(palette(rng))
    both.out(font_access(True))
    for start in range(0, 0x10000, 0x800):
        both.store(APERTURE + start, rng.randbytes(0x800))
    both.out(font_access(False))
    for start in range(0, 0x4000, 0x800):
        both.store(
            0xB8000 + start, bytes(rng.choice(CHARACTERS) if n % 2 == 0 else rng.randrange(128) for n in range(0x800))
        )
    match variant:
        case "scrolled":
            both.out(indexed(0x3D4, 0x0C, 0x03))
            both.out(indexed(0x3D4, 0x0D, 0x21))
        case "two fonts":
            both.out(indexed(0x3C4, 3, 0b110110))
        case "no line graphics":
            both.out(iter([(0x3DA, None), (0x3C0, 0x10), (0x3C0, 0x08), (0x3C0, 0x20)]))
        case "eight dots":
            both.out(indexed(0x3C4, 1, MODES[number].sequencer[1] | 1))
        case "half lines":
            both.out(indexed(0x3D4, 9, 0x47))
        case "no planes":
            both.out(iter([(0x3DA, None), (0x3C0, 0x12), (0x3C0, 0), (0x3C0, 0x20)]))
    same_screen(both, CHANNEL_STEPS)


@pytest.mark.parametrize(
    ("number", "variant"), one_in(5, [0x04, 0x06, 0x0D, 0x12, 0x13], ["plain", "scrolled", "split"])
)
def test_graphics_screen(both: Both, number: int, variant: str) -> None:
    rng = random.Random(number)
    mode = MODES[number]
    both.out(mode_set(mode))
    both.out(palette(rng))
    start = 0xB8000 if number < 8 else APERTURE
    length = 0x4000 if number < 8 else 0x10000
    maps = [1, 2, 4, 8] if number in (0x0D, 0x12) else [mode.sequencer[2]]
    for map_mask in maps:
        both.out(indexed(0x3C4, 2, map_mask))
        for offset in range(0, length, 0x800):
            both.store(start + offset, rng.randbytes(0x800))
    if variant == "scrolled":
        both.out(indexed(0x3D4, 0x0D, 0x28))
    elif variant == "split":
        both.out(indexed(0x3D4, 0x07, mode.crtc[0x07] & ~0x10))
        both.out(indexed(0x3D4, 0x09, mode.crtc[0x09] & ~0x40))
        both.out(indexed(0x3D4, 0x18, 99))
    same_screen(both, CHANNEL_STEPS)


@pytest.mark.parametrize(("bits", "variant"), one_in(4, [8, 15, 16, 24, 32], ["plain", "moved"]))
def test_dispi_screen(both: Both, bits: int, variant: str) -> None:
    rng = random.Random(bits)
    both.out(mode_set(MODES[0x12]))
    both.out(palette(rng))
    for index, value in ((1, 320), (2, 200), (3, bits), (4, 0x41)):
        both.dispi(index, value)
    if variant == "moved":
        for index, value in ((6, 400), (8, 16), (9, 7)):
            both.dispi(index, value)
    for bank in range(6):
        both.dispi(5, bank)
        for offset in range(0, 0x10000, 0x800):
            both.store(APERTURE + offset, rng.randbytes(0x800))
    same_screen(both, CHANNEL_STEPS if bits == 8 else 7)  # its five bits become eight without filling up
