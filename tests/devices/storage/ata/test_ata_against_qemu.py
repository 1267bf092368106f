"""The same register traffic on our IDE channels and on QEMU's.

What is left out, because QEMU does it otherwise than ATA/ATAPI-6 (or differs by right):

- an address that is not there: QEMU aborts, ours is not found (READ SECTOR(S) allows either); and in every error's
  status bit 4, which is for the command to define
- QEMU's nIEN does not take an interrupt away that is there, and one that it kept back is lost
- after a transfer QEMU's address registers hold the next sector; the standard leaves them undefined
- while SRST is set QEMU's devices are not busy, and afterwards they interrupt
- EXECUTE DEVICE DIAGNOSTIC in QEMU is the selected device's alone, and gives no interrupt for a CD-ROM
- IDENTIFY: the words of `OWN_WORDS`; ours has no SMART, no single-word DMA and no TRIM, but says it is a power-managed
  device with read look-ahead, and has an integrity word
- a packet command that fails: QEMU's status has bit 4 clear and its error register has the sense key alone; drives have
  both. QEMU does not forget sense data when it was asked for, and calls its information field valid
- READ TOC: QEMU has the lead-out's control as 6, and knows format numbers only in the last byte (SFF-8020i)
- MODE SENSE, GET CONFIGURATION: other capabilities. GET EVENT STATUS: QEMU does not count the header's second half
- a DMA transfer that runs beyond the last sector: QEMU moves nothing
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.devices.storage.qtest import Qtest, needs_qemu
from tests.devices.storage.rig import ERR, Ide, Ours, make_image, open_rig, qemu_board
from tests.everyday import everyday

pytestmark = needs_qemu

SECTORS, CD_BLOCKS, SMALL_BYTES = 3000, 700, 100 * 512 + 77
OWN_WORDS = {4, 5, 20, 21, 22, 48, 49, 50, 62, 69, 80, 81, 82, 85, 106, 169, 255, *range(10, 20), *range(23, 47)}
DMA_LBA = 2600


@dataclass
class Pair:
    ours: Ours
    qemu: Qtest
    folders: tuple[Path, Path]

    def drivers(self, channel: int = 0) -> tuple[Ide, Ide]:
        return Ide(self.ours, channel), Ide(self.qemu, channel)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    rng = random.Random(5)
    contents = {
        "disk": rng.randbytes(SECTORS * 512),
        "cd": rng.randbytes(CD_BLOCKS * 2048),
        "small": rng.randbytes(SMALL_BYTES),
    }
    folders = tmp_path / "ours", tmp_path / "qemu"
    images = []
    for folder in folders:
        folder.mkdir()
        images.append([make_image(folder / name, data) for name, data in contents.items()])
    pair = Pair(open_rig(*images[0]), qemu_board(*images[1]), folders)
    yield pair
    pair.ours.close()
    pair.qemu.close()


def identify(driver: Ide, command: int, device: int) -> list[int]:
    assert driver.command(command, device=device) & 0x89 == 0x08
    data = driver.words_in(256)
    driver.reg(7)
    return [int.from_bytes(data[at : at + 2], "little") for at in range(0, 512, 2)]


@pytest.mark.parametrize("channel", [0, 1])
def test_identify(pair: Pair, channel: int) -> None:
    ours, theirs = (identify(driver, 0xEC, 0xE0) for driver in pair.drivers(channel))
    own = OWN_WORDS if channel == 0 else OWN_WORDS | {1, 54, 57}  # QEMU's smallest disk has two cylinders
    assert {n: hex(a) for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b and n not in own} == {}


def test_who_is_there(pair: Pair) -> None:
    """Status and signatures after power-on, and where nobody is."""
    for channel in (0, 1):
        for device in (0xA0, 0xB0):
            seen = []
            for driver in pair.drivers(channel):
                driver.board.out(driver.control, 1, 4)
                driver.board.out(driver.control, 1, 0)
                driver.set(6, device)
                is_there = (channel, device) != (1, 0xB0)
                seen.append([driver.alternate, *(driver.registers() if is_there else [])])
            assert seen[0] == seen[1]


READS = {0x20: (False, False), 0x21: (False, False), 0x24: (True, False), 0x29: (True, True), 0xC4: (False, True)}
WRITES = {0x30: (False, False), 0x31: (False, False), 0x34: (True, False), 0x39: (True, True), 0xC5: (False, True)}


def pio_commands(driver: Ide, rng: random.Random) -> Iterator[object]:
    """Random commands; what each showed: data, statuses, errors, interrupts."""
    multiple = 16
    for _ in range(30):
        match rng.randrange(12):
            case 0 | 1 | 2 | 3:
                command = rng.choice(list(READS))
                wide, is_multiple = READS[command]
                count = rng.choice([1, 2, 7, 16, 33, rng.randint(1, 60)])
                lba = rng.randrange(SECTORS - count)
                yield driver.read(command, lba, count, multiple if is_multiple else 1, wide)
            case 4 | 5 | 6:
                command = rng.choice(list(WRITES))
                wide, is_multiple = WRITES[command]
                count = rng.choice([1, 2, 7, 16, 33])
                lba = rng.randrange(SECTORS - count)
                driver.write(command, lba, rng.randbytes(count * 512), multiple if is_multiple else 1, wide)
            case 7:
                multiple = rng.choice([1, 2, 4, 8, 16])
                yield driver.command(0xC6, count=multiple), driver.interrupting
                yield driver.command(0xC6, count=rng.choice([3, 32, 17])) & ~0x10, driver.reg(1), driver.interrupting
            case 8:  # nothing there
                wide = rng.random() < 0.5
                lba = rng.choice([SECTORS, SECTORS + 1000, 0xFFFFFFF])
                command = (0x24 if wide else 0x20) + 0x10 * rng.randrange(2)
                if command & 0x10:  # QEMU takes a block before it looks at the address
                    continue
                status = driver.command(command, lba, 1, wide=wide)
                yield status & ~0x10, bool(driver.reg(1)), driver.interrupting, driver.reg(7) & ~0x10
            case 9:  # a part is there
                lba = SECTORS - rng.randint(1, 3)
                status = driver.command(0x20, lba, 10)
                while not status & ERR:
                    yield driver.words_in(256)
                    status = driver.settle()
                yield status & ~0x10, bool(driver.reg(1)), driver.interrupting
            case 10:  # without data
                command = rng.choice([0x10, 0x70, 0x94, 0x95, 0x96, 0x97, 0xE0, 0xE1, 0xE2, 0xE3, 0xE7, 0xEA, 0x00])
                yield driver.command(command) & ~0x10, driver.reg(1), driver.interrupting
                yield driver.reg(7) & ~0x10, driver.interrupting
            case 11:  # cylinders, heads, sectors
                lba = rng.randrange(2000)
                track, sector = divmod(lba, 63)
                cylinder, head = divmod(track, 16)
                status = driver.command(0x20, cylinder << 8 | sector + 1, 1, device=0xA0 | head)
                yield status, driver.words_in(256), driver.settle()


@pytest.mark.parametrize("seed", everyday(range(4), {0}))
def test_pio(pair: Pair, seed: int) -> None:
    ours, theirs = (list(pio_commands(driver, random.Random(seed))) for driver in pair.drivers())
    assert ours == theirs
    for driver in pair.drivers():
        driver.command(0xE7)
    assert (pair.folders[0] / "disk").read_bytes() == (pair.folders[1] / "disk").read_bytes()


def test_an_image_that_ends_inside_of_a_sector(pair: Pair) -> None:
    seen = []
    for driver in pair.drivers(1):
        words = identify(driver, 0xEC, 0xE0)
        sectors = words[60] | words[61] << 16
        seen.append((sectors, driver.read(0x20, sectors - 1, 1), driver.command(0x20, sectors, 1) & ~0x10))
        driver.write(0x30, sectors - 1, b"last" * 128)
        driver.command(0xE7)
    assert seen[0] == seen[1]
    assert seen[0][0] == 101
    sizes = [len((folder / "small").read_bytes()) for folder in pair.folders]
    assert sizes == [101 * 512] * 2
    assert (pair.folders[0] / "small").read_bytes() == (pair.folders[1] / "small").read_bytes()


def random_registers(driver: Ide, rng: random.Random) -> Iterator[str]:
    """Single accesses. The address registers are only read as long as no command has used them."""
    are_known = False
    for _ in range(300):
        match rng.randrange(14):
            case 0 | 1:
                for offset in 2 * (2, 3, 4, 5):  # the previous contents, too
                    value = rng.randrange(256) if offset == 2 else rng.randrange(6) if offset < 5 else 0
                    driver.set(offset, value)
                driver.set(6, 0xE0)
                are_known = not driver.settle() & 0x08
            case 2 | 3 if are_known:
                offset = rng.randint(2, 6)
                yield f"in {offset} -> {driver.reg(offset):#x}"
            case 4 if are_known:
                driver.board.out(driver.control, 1, 0x80 | 2 * rng.randrange(2))
                yield f"previous {[driver.reg(offset) for offset in range(2, 6)]}"
                driver.board.out(driver.control, 1, 0)
            case 5 if are_known:
                command = rng.choice([0x20, 0x24, 0xC4, 0x30, 0xC5, 0xE5, 0xC6, 0xF2, 0x10, 0xFF, 0xE7, 0xA1, 0xA0])
                driver.set(7, command)
                are_known = False
                yield f"command {command:#x} -> {driver.settle() & ~0x10:#x}"
            case 6 | 7 | 8:
                if driver.settle() & 0x08:
                    size = rng.choice([2, 2, 4])
                    words = []
                    for _ in range(2 * rng.randint(1, 100)):
                        if driver.settle() & 0x08:
                            words.append(driver.board.inp(driver.base, size))
                    yield f"data {words} {driver.settle() & ~0x10:#x}"
            case 9 | 10:
                if driver.settle() & 0x08:
                    for _ in range(2 * rng.randint(1, 100)):
                        if driver.settle() & 0x08:
                            driver.board.out(driver.base, 2, rng.randrange(65536))
                    yield f"wrote {driver.settle() & ~0x10:#x}"
            case 11:
                failed = driver.settle() & ERR
                yield f"status {driver.interrupting} {driver.reg(7) & ~0x10:#x} {failed and bool(driver.reg(1))}"
                yield f"interrupting {driver.interrupting}"
            case 12:
                driver.settle()
                driver.reg(7)
                mask = rng.choice([0, 0, 2])
                driver.board.out(driver.control, 1, mask)
                yield f"interrupting {driver.interrupting}"
            case 13 if rng.random() < 0.2:
                driver.board.out(driver.control, 1, 4)
                driver.board.out(driver.control, 1, 0)
                are_known = False
                yield f"reset {driver.settle():#x} {driver.registers()} {driver.reg(7)}"


@pytest.mark.parametrize("seed", everyday(range(8), {0, 1}))
def test_random_registers(pair: Pair, seed: int) -> None:
    ours, theirs = pair.drivers()
    rngs = random.Random(seed), random.Random(seed)
    pairs = zip(random_registers(ours, rngs[0]), random_registers(theirs, rngs[1]), strict=True)
    for number, (mine, other) in enumerate(pairs):
        assert mine == other, number


SAME_PACKETS = (
    "00",
    "25",
    "280000000001000001",
    "2800000002ba000002",
    "2800000002bb000002",
    "a80000000000000000000a",
    "be000000000400000110",
    "43000000000000000c",
    "43020000000100000c",
    "5100000000000000ff",
    "bd00000000000000003c",
    "2b00000000ff",
    "2b0000000fff",
    "1e00000001",
    "1e",
    "77",
    "4a000000100000000800",
)


@pytest.mark.parametrize("limit", [0xFFFE, 0x800, 0x1000, 0xFFFF, 0x7FF, 100])
def test_packets(pair: Pair, limit: int) -> None:
    for text in SAME_PACKETS:
        seen = []
        for driver in pair.drivers():
            status, error, blocks, data = driver.packet(bytes.fromhex(text), limit)
            sense = driver.packet(bytes([3, 0, 0, 0, 18]))[3]
            reason = (sense[2], sense[12], sense[13]) if status & ERR else None
            seen.append((status & ~0x10, error & ~4, blocks, data, reason, driver.interrupting))
        assert seen[0] == seen[1], text


@pytest.mark.parametrize("seed", everyday(range(6), {0, 1}))
def test_dma(pair: Pair, seed: int) -> None:
    """Random tables: as long as the data, longer, in pieces, and shorter."""
    rng = random.Random(seed)
    for _ in range(12):
        writes = rng.random() < 0.4
        count = rng.randint(1, 200)
        lba = rng.randrange(DMA_LBA)
        pieces, left, address = [], count * 512, 0x10000
        while left > 0:
            n = min(left, 2 * rng.randint(1, 20_000))
            pieces.append((address, n))
            address += n + 2 * rng.randrange(50) + (-(address + n) % 0x10000 if n > 0x8000 else 0)
            left -= n
        change = rng.choice(["none", "none", "longer", "shorter"])
        if change == "longer":
            pieces.append((0x80000, 512))
        elif change == "shorter" and len(pieces) > 1:
            pieces.pop()
        content = rng.randbytes(0x60000)
        seen = []
        for driver in pair.drivers():
            driver.board.write(0x10000, content)
            driver.dma(pieces, to_memory=not writes)
            driver.set(6, 0xE0)
            command = rng.choice([0xCA]) if writes else 0xC8
            driver.command(command, lba, count)
            master = driver.start(to_memory=not writes)
            status = driver.alternate if master & 4 else None
            memory = b"" if change == "shorter" else driver.board.read(0x10000, 0x60000)
            seen.append((master & 0x67, status, driver.interrupting, memory))
            driver.board.out(driver.master, 1, 0)
            driver.reg(7)
            if change == "shorter":  # the device waits for more
                driver.board.out(driver.control, 1, 4)
                driver.board.out(driver.control, 1, 0)
                driver.settle()
        assert seen[0] == seen[1], change
