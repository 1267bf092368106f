"""ATA disks: what the standard says where QEMU is silent, host errors, time, state, and traffic without sense."""

import errno
import json
import os
import random
import threading
from collections.abc import Callable, Iterator

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Line
from bt.devices.storage.ata.ata_disk import AtaDisk
from bt.devices.storage.ata.ide_channel import IdeChannel
from bt.disks.disk import Disk
from bt.disks.latency import FLUSH_NS, REQUEST_NS, SECTOR_NS
from tests.devices.board import Edges, pass_time
from tests.devices.storage.rig import BUS_MASTER, BUSY, DRQ, ERR, Ide, Ours
from tests.disks.memory_image import MemoryImage

CONTENT = random.Random(1).randbytes(1000 * 512)
CD = random.Random(2).randbytes(100 * 2048)


def rig(
    content: bytes | MemoryImage = CONTENT, on_error: Callable[[str], None] | None = None
) -> tuple[Ours, MemoryImage]:
    image = content if isinstance(content, MemoryImage) else MemoryImage(content)
    return Ours(Disk(image, on_error), Disk(MemoryImage(CD, read_only=True))), image


def test_interrupts_of_pio() -> None:
    """One a block read; of writes one for each block but the first, and one at the end."""
    ours, _ = rig()
    driver = Ide(ours)
    edges = Edges(ours.lines[0])
    driver.read(0x20, 0, 5)
    assert edges.count == 5
    driver.write(0x30, 0, bytes(5 * 512))
    assert edges.count == 10
    driver.read(0xC4, 0, 32, 16)
    assert edges.count == 12


def test_a_status_read_after_the_data_takes_no_interrupt() -> None:
    ours, _ = rig()
    driver = Ide(ours)
    driver.command(0x20, 0, 2)
    assert driver.interrupting
    ours.ports.read(0x1F0, 2)
    for _ in range(255):
        ours.ports.read(0x1F0, 2)
    assert ours.ports.read(0x1F7, 1) & BUSY
    assert not driver.interrupting or driver.settle() & DRQ
    driver.settle()
    assert driver.interrupting


def test_completion_comes_when_the_formula_says() -> None:
    ours, _ = rig()
    driver = Ide(ours)
    for command, count, ns in (
        (0x20, 3, REQUEST_NS + 3 * SECTOR_NS),
        (0xE7, 0, FLUSH_NS),
        (0x40, 8, REQUEST_NS + 8 * SECTOR_NS),
    ):
        for offset, value in ((2, count), (3, 0), (4, 0), (5, 0), (6, 0xE0), (7, command)):
            driver.set(offset, value)
        pass_time(ours.clock, ns - 1)
        assert ours.ports.read(0x3F6, 1) & BUSY
        pass_time(ours.clock, 1)
        assert not ours.ports.read(0x3F6, 1) & BUSY
        ours.channels[0].reset()


def test_a_slow_host_is_waited_for() -> None:
    ours, image = rig()
    driver = Ide(ours)
    image.gate.clear()
    driver.set(6, 0xE0)
    driver.set(2, 1)
    driver.set(3, 0)
    driver.set(7, 0x20)
    timer = threading.Timer(0.05, image.gate.set)
    timer.start()
    assert driver.settle() & DRQ
    assert driver.words_in(256) == CONTENT[:512]
    timer.join()


def test_with_the_hosts_clock_it_is_complete_when_the_host_is_done() -> None:
    posted: list[Callable[[], None]] = []
    clock = VirtualClock()
    image = MemoryImage(CONTENT)
    line = Line("IRQ 14")
    channel = IdeChannel(line)
    channel.connect(AtaDisk(clock, Disk(image), post=posted.append), 0)
    image.gate.clear()
    for offset, value in ((6, 0xE0), (2, 1), (7, 0x20)):
        channel.write(offset, 1, value)
    assert not posted
    assert channel.read(7, 1) & BUSY
    image.gate.set()
    while not posted:
        pass
    assert channel.read(7, 1) & BUSY  # still: nothing happens between two instructions but what was posted
    posted.pop()()
    assert line.level
    assert channel.read(7, 1) & DRQ
    channel.write(8, 1, 4)  # a completion that comes after a reset is nobody's
    channel.write(8, 1, 0)
    channel.write(7, 1, 0xE7)
    while not posted:
        pass
    channel.write(8, 1, 4)
    channel.write(8, 1, 0)
    late = posted.pop()
    late()
    assert not line.level
    image.gate.clear()
    channel.write(7, 1, 0xE7)
    late()
    assert channel.read(7, 1) & BUSY
    image.gate.set()


def test_a_flush_is_one_of_the_hosts_and_the_write_cache_can_be_switched_off() -> None:
    ours, image = rig()
    driver = Ide(ours)
    driver.write(0x30, 0, bytes(512))
    assert image.flushes == 0
    driver.command(0xE7)
    driver.command(0xEA)
    assert image.flushes == 2
    assert driver.command(0xEF, features=0x82) == 0x50
    words = driver.read(0xEC, 0, 1)
    assert not int.from_bytes(words[170:172], "little") & 1 << 5
    driver.write(0x30, 0, bytes(3 * 512))
    driver.write(0x34, 0, bytes(300 * 512), wide=True)
    assert image.flushes == 4
    driver.command(0xEF, features=0x02)
    driver.write(0x30, 0, bytes(512))
    assert image.flushes == 4


def test_integrity_word_of_identify() -> None:
    ours, _ = rig()
    data = Ide(ours).read(0xEC, 0, 1)
    assert data[510] == 0xA5
    assert sum(data) & 0xFF == 0


@pytest.mark.parametrize("dma", [False, True])
def test_a_full_host_is_an_error_of_the_disk(dma: bool) -> None:
    told: list[str] = []
    ours, image = rig(on_error=told.append)
    driver = Ide(ours)
    image.broken = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for lba in (7, 9):
        if dma:
            driver.dma([(0x2000, 512)], to_memory=False)
            driver.command(0xCA, lba, 1)
            driver.start(to_memory=False)
            status = driver.settle()
        else:
            driver.command(0x30, lba, 1)
            driver.words_out(bytes(512))
            status = driver.settle()
        assert status & ERR
        assert driver.reg(1) == 0x04
        assert driver.reg(3) == lba
        assert driver.interrupting
        driver.reg(7)
    assert driver.command(0xE7) & ERR
    assert len(told) == 2  # one of writing, one of flushing
    image.broken = None
    driver.write(0x30, 7, bytes(512))


def test_a_medium_error_has_its_address() -> None:
    ours, image = rig()
    driver = Ide(ours)
    image.broken = OSError(errno.EIO, os.strerror(errno.EIO))
    for command, wide in ((0x20, False), (0x24, True), (0x40, False)):
        status = driver.command(command, 300, 9, wide=wide)
        assert status & (ERR | DRQ | BUSY) == ERR
        assert driver.reg(1) == 0x40
        assert [driver.reg(offset) for offset in (3, 4, 5)] == [300 & 0xFF, 1, 0]
    image.broken = None
    assert driver.read(0x20, 300, 1) == CONTENT[300 * 512 : 301 * 512]


def test_what_runs_beyond_the_end_is_an_error_at_the_first_sector_that_is_not_there() -> None:
    ours, image = rig()
    driver = Ide(ours)
    driver.command(0x30, 998, 5)
    for _ in range(2):
        driver.words_out(b"zz" * 256)
        status = driver.settle()
    assert status & ERR
    assert driver.reg(1) == 0x10
    assert driver.reg(3) | driver.reg(4) << 8 == 1000
    assert image.bytes[998 * 512 :] == b"z" * 1024
    driver.dma([(0x2000, 8 * 512)], to_memory=True)
    driver.command(0xC8, 997, 8)
    driver.start(to_memory=True)
    assert driver.settle() & ERR
    assert ours.ram.read(0x2000, 3 * 512) == CONTENT[997 * 512 : 998 * 512] + b"z" * 1024


def test_a_read_only_disk_aborts_writes() -> None:
    ours, _ = rig(MemoryImage(CONTENT, read_only=True))
    driver = Ide(ours)
    for command in (0x30, 0x34, 0x39, 0xC5, 0xCA, 0x35):
        assert driver.command(command, 0, 1) == 0x51
        assert driver.reg(1) == 0x04
    assert driver.command(0xE7) == 0x50


def test_translation_by_initialize_device_parameters() -> None:
    ours, _ = rig()
    driver = Ide(ours)
    assert driver.command(0x91, count=17, device=0xA3) == 0x50  # 4 heads, 17 sectors a track
    lba = (3 * 4 + 2) * 17 + 5 - 1
    assert driver.command(0x20, 3 << 8 | 5, 1, device=0xA2) & DRQ
    assert driver.words_in(256) == CONTENT[lba * 512 : lba * 512 + 512]
    for low, device in ((0, 0xA0), (18, 0xA0), (1, 0xA4)):  # no such sector, nor head
        assert driver.command(0x20, low, 1, device=device) & ERR
        assert driver.reg(1) == 0x10
    words = driver.read(0xEC, 0, 1)
    assert list(words[108:116]) == [1000 // 68, 0, 4, 0, 17, 0, 1000 // 68 * 68 & 0xFF, 1000 // 68 * 68 >> 8]


def test_native_max() -> None:
    ours, _ = rig()
    driver = Ide(ours)
    assert driver.command(0xF8) == 0x50
    assert driver.registers()[2:5] == [999 & 0xFF, 3, 0]
    assert driver.command(0x27, wide=True) == 0x50
    assert driver.registers()[2:5] == [999 & 0xFF, 3, 0]


def test_only_the_selected_device_interrupts_and_only_if_it_may() -> None:
    ours, _ = rig()
    driver = Ide(ours)
    driver.command(0xE7)
    assert driver.interrupting
    driver.set(6, 0xB0)
    assert not driver.interrupting
    driver.set(6, 0xE0)
    assert driver.interrupting
    driver.board.out(0x3F6, 1, 2)
    assert not driver.interrupting
    driver.board.out(0x3F6, 1, 0)
    assert driver.interrupting
    assert driver.alternate == 0x50
    assert driver.interrupting
    driver.reg(7)
    assert not driver.interrupting


def test_diagnostic_of_both_devices() -> None:
    ours, _ = rig()
    driver = Ide(ours)
    driver.set(6, 0xB0)
    driver.set(7, 0x90)
    assert driver.interrupting
    assert driver.registers() == [1, 1, 1, 0, 0, 0xA0]
    driver.set(6, 0xB0)
    assert driver.registers() == [1, 1, 1, 0x14, 0xEB, 0xB0]
    assert driver.alternate == 0


def random_traffic(rng: random.Random, length: int) -> Iterator[tuple[str, int, int, int]]:
    """Accesses to the registers of a channel and of its bus master, more or less in the order of a driver."""
    for _ in range(length):
        match rng.randrange(12):
            case 0:
                commands = [
                    *range(256),
                    *[0x20, 0x24, 0x30, 0x34, 0xC4, 0xC5, 0xC8, 0xCA, 0x25, 0x35, 0xA0, 0xA0, 0xA0] * 20,
                ]
                yield "out", 0x1F7, 1, rng.choice(commands)
            case 1:
                yield "out", 0x1F6, 1, rng.choice([0xE0, 0xE0, 0xB0, 0xA0, rng.randrange(256)])
            case 2 | 3:
                offset = rng.randint(1, 5)
                yield "out", 0x1F0 + offset, rng.choice([1, 1, 1, 2, 4]), rng.choice([0, 1, 2, 3, rng.getrandbits(32)])
            case 4:
                yield "out", 0x3F6, 1, rng.choice([0, 0, 0, 2, 4, 0x80, rng.randrange(256)])
            case 5:
                for _ in range(rng.choice([1, 6, 256, 300])):
                    yield "in", 0x1F0, rng.choice([2, 2, 2, 4, 1]), 0
            case 6:
                packet = rng.choice([0x28, 0xA8, 0xBE, 0x43, 0x5A, 0x46, 0x4A, 0x1B, rng.randrange(256)])
                yield "out", 0x1F0, 2, packet | rng.choice([0, 0, rng.getrandbits(8)]) << 8
                for _ in range(rng.choice([5, 5, 255])):
                    yield "out", 0x1F0, 2, rng.choice([0, 0, 0, 1, 256, rng.getrandbits(16)])
            case 7:
                yield (
                    "out",
                    BUS_MASTER + rng.randrange(8),
                    rng.choice([1, 2, 4]),
                    rng.choice([0, 1, 8, 9, rng.getrandbits(32)]),
                )
            case 8:
                yield "out", BUS_MASTER + 4, 4, rng.choice([0x1000, 0x1008, 0xFFFFF0, 0xFFFFFFF8, rng.getrandbits(32)])
                yield "out", BUS_MASTER, 1, rng.choice([1, 9])
            case 9:
                yield "in", BUS_MASTER + rng.randrange(8), rng.choice([1, 2, 4]), 0
            case _:
                yield "in", rng.choice([*range(0x1F1, 0x1F8), 0x3F6]), 1, 0


def apply(ours: Ours, access: tuple[str, int, int, int]) -> int | None:
    kind, port, size, value = access
    if kind == "in":
        return ours.inp(port, size)
    ours.out(port, size, value & (1 << 8 * size) - 1)
    return None


def tables(ours: Ours, rng: random.Random) -> None:
    for at in range(0x1000, 0x1100, 8):
        address = rng.choice([rng.randrange(16 << 20), 0x1000, 0xFFFFF0, rng.getrandbits(32)])
        last = 0x80 * (rng.random() < 0.2)
        ours.ram.write(at, address.to_bytes(4, "little") + rng.randbytes(2) + bytes([0, last]))


@pytest.mark.parametrize("seed", range(6))
def test_traffic_without_sense_and_a_second_machine_from_its_state(seed: int) -> None:
    """Never an exception; and at any moment a machine made from the state goes on the same."""
    rng = random.Random(seed)
    ours, image = rig()
    tables(ours, rng)
    cut = rng.randrange(200, 3000)
    traffic = list(random_traffic(rng, 700))
    for access in traffic[:cut]:
        apply(ours, access)
    state = json.loads(json.dumps(ours.state()))
    other, other_image = rig(MemoryImage(image.bytes))
    other.ram.write(0, ours.ram.read(0, ours.ram.size))
    other.restore(state)
    assert other.state() == state
    for number, access in enumerate(traffic[cut:]):
        assert apply(ours, access) == apply(other, access), number
        assert ours.irq == other.irq
    assert ours.state() == other.state()
    assert image.bytes == other_image.bytes
    assert ours.ram.read(0, ours.ram.size) == other.ram.read(0, ours.ram.size)


@pytest.mark.parametrize("seed", range(8))
def test_state_in_the_middle_of_commands(seed: int) -> None:
    """Commands that make sense, cut at each of several times: busy, between words, while DMA waits."""
    rng = random.Random(seed)
    command = rng.choice([0x20, 0xC4, 0x30, 0x34, 0xC5])
    count = rng.randint(1, 40)
    is_write = command & 0x30 == 0x30 or command == 0xC5
    data = rng.randbytes(count * 512)
    for _ in range(12):
        ours, image = rig()
        driver = Ide(ours)
        for offset, value in ((6, 0xE0), (2, 0), (2, count), (3, 0), (3, 5), (4, 0), (5, 0), (7, command)):
            driver.set(offset, value)
        moved = rng.choice([rng.randrange(count * 256), rng.randrange(count) * 256])
        result = b""
        for word in range(count * 256):
            if word == moved:
                if rng.random() < 0.5:
                    ours.step(rng.choice([0, 100, 5000]))
                state = json.loads(json.dumps(ours.state()))
                ours, image = rig(MemoryImage(image.bytes))
                ours.restore(state)
                driver = Ide(ours)
            if word % 256 == 0:
                assert driver.settle() & DRQ
            if is_write:
                driver.words_out(data[2 * word : 2 * word + 2])
            else:
                result += driver.words_in(1)
        assert not driver.settle() & (DRQ | ERR)
        if is_write:
            assert image.bytes[5 * 512 : (5 + count) * 512] == data
        else:
            assert result == CONTENT[5 * 512 : (5 + count) * 512]
