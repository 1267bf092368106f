"""The same diskette commands on our controller and on QEMU's.

What QEMU does otherwise than the data sheet, and is left out: it is not in reset after power-on, has the PS/2's status
registers, goes on to the next cylinder where a transfer ends without terminal count, has "end of cylinder" for sectors
that are not there, takes any sector size, moves its head to where a transfer would go on (head and "seek end" of status
register 0), neither counts a sector that was written in part nor fills it with zeros, and has room in DUMPREG for the
sectors of a track. Its READ ID finds some other sector. A DMA controller's registers 9 and 15 are write-only.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bt.disks.disk import open_disk
from tests.devices.storage.floppy.floppy_rig import DIO, NON_DMA, RQM, Floppy, OurFloppy, qemu_floppy
from tests.devices.storage.qtest import Qtest, needs_qemu

pytestmark = needs_qemu

SIZES = {"1.44M": 2880, "720K": 1440, "2.88M": 5760}
SECTORS = {"1.44M": 18, "720K": 9, "2.88M": 36}
RATES = {"1.44M": 0, "720K": 2, "2.88M": 3}
SAME_STATUS_0 = 0xDB  # without seek end and head


@pytest.fixture(params=SIZES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(tmp_path: Path, kind: str) -> Iterator[tuple[OurFloppy, Qtest]]:
    content = random.Random(4).randbytes(SIZES[kind] * 512)
    for name in ("ours", "theirs"):
        (tmp_path / name).write_bytes(content)
    disk = open_disk(str(tmp_path / "ours"))
    qemu = qemu_floppy(tmp_path / "theirs")
    yield OurFloppy(disk), qemu
    disk.close()
    qemu.close()


def session(driver: Floppy, rng: random.Random, kind: str) -> Iterator[object]:
    board = driver.board
    spt, rate = SECTORS[kind], RATES[kind]
    yield driver.reset()
    yield board.inp(0x3F7, 1) & 0x80
    yield [driver.command(*c) for c in ((8,), (0x10,), (4, 0), (0x94,), (0x14,), (0x1F,))]
    yield driver.recalibrate()
    yield driver.seek(1), board.inp(0x3F7, 1) & 0x80
    board.out(0x3F7, 1, rate)
    for _ in range(40):
        cylinder, head = rng.randrange(80), rng.randrange(2)
        first = rng.randint(1, spt)
        multi = rng.random() < 0.3 and head == 0
        most = spt - first + 1 + (spt if multi else 0)
        n = rng.randint(1, most) * 512
        address = rng.randrange(0x10000, 0xA0000, 0x1000) & 0xF0000
        match rng.randrange(7):
            case 0 | 1:
                yield driver.seek(cylinder)
                driver.set_dma(address, n, rng.choice([0x44, 0x04, 0x84]))
                result = driver.transfer(0x46 | 0x80 * multi, cylinder, head, first, spt)
                yield result[0] & SAME_STATUS_0, result[1:], board.read(address, n), board.inp(8, 1) & 0xF
            case 2 | 3:
                yield driver.seek(cylinder)
                board.write(address, rng.randbytes(n))
                driver.set_dma(address, n, rng.choice([0x48, 0x08]))
                result = driver.transfer(0x45 | 0x80 * multi, cylinder, head, first, spt)
                yield result[0] & SAME_STATUS_0, result[1:]
            case 4:
                yield driver.seek(cylinder), driver.command(4, head << 2), driver.command(8)
            case 5:
                board.out(0x3F7, 1, 1)
                driver.set_dma(address, n, 0x44)
                result = driver.transfer(0x46, cylinder, head, 1, spt)
                yield result[0] & SAME_STATUS_0, result[1:3]
                board.out(0x3F7, 1, rate)
            case 6:
                yield driver.recalibrate(), driver.command(4, 0)


@pytest.mark.parametrize("seed", range(2))
def test_sessions(pair: tuple[OurFloppy, Qtest], kind: str, seed: int, tmp_path: Path) -> None:
    drivers = [Floppy(board) for board in pair]
    sessions = [session(driver, random.Random(seed), kind) for driver in drivers]
    for number, (ours, theirs) in enumerate(zip(*sessions, strict=True)):
        assert ours == theirs, number
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_without_dma(pair: tuple[OurFloppy, Qtest], kind: str, tmp_path: Path) -> None:
    """Bytes through the FIFO; without terminal count the end of the track ends it, with an error."""
    spt = SECTORS[kind]
    seen = []
    for board in pair:
        driver = Floppy(board)
        driver.reset(dma=False)
        driver.board.out(0x3F7, 1, RATES[kind])
        driver.seek(3)
        driver.send(0x46, 0, 3, 0, spt - 1, 2, spt, 0x1B, 0xFF)
        data = b""
        for _ in range(1024):
            assert driver.wait() & (RQM | DIO | NON_DMA) == RQM | DIO | NON_DMA
            data += bytes([board.inp(0x3F5, 1)])
        seen.append(data)
    assert seen[0] == seen[1]
    assert Floppy(pair[0]).results()[:2] == [0x40, 0x80]


def dma_traffic(board: OurFloppy | Qtest, rng: random.Random) -> Iterator[int]:
    """Registers of both controllers and the pages, without anything that asks for cycles."""
    board.out(0x0D, 1, 0)
    board.out(0xDA, 1, 0)
    for base, step in ((0x00, 1), (0xC0, 2)):  # known contents
        board.out(base + 12 * step, 1, 0)
        for register in range(8):
            for _ in range(2):
                board.out(base + register * step, 1, 0)
    for _ in range(300):
        base, step = rng.choice([(0x00, 1), (0xC0, 2)])
        match rng.randrange(7):
            case 0 | 1:
                board.out(base + 12 * step, 1, 0)
                register = rng.randrange(8)
                for _ in range(2):  # QEMU takes a register's new value with its second byte
                    board.out(base + register * step, 1, rng.randrange(256))
            case 2 | 3:
                yield board.inp(base + rng.randrange(8) * step, 1)
            case 4:
                port = rng.choice([0x81, 0x82, 0x83, 0x87, 0x89, 0x8A, 0x8B])
                board.out(port, 1, rng.randrange(256))
                yield board.inp(port, 1)
            case 5:
                yield board.inp(base + 8 * step, 1)
            case 6:
                register = rng.choice([10, 11, 14, 15])
                board.out(base + register * step, 1, rng.randrange(256))


@pytest.mark.parametrize("seed", range(4))
def test_dma_registers(seed: int) -> None:
    qemu = qemu_floppy(None)
    found = [list(dma_traffic(board, random.Random(seed))) for board in (OurFloppy(None), qemu)]
    qemu.close()
    assert found[0] == found[1]
