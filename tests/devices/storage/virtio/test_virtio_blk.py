"""Virtio block requests on our device and on QEMU's; then rings that no driver would make."""

import errno
import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bt.devices.device import Device
from bt.devices.storage.virtio.virtio_blk import OPTIMAL_BYTES, TOPOLOGY
from bt.devices.storage.virtio.virtio_pci import WINDOWS, capabilities
from bt.disks.disk import Disk, open_disk
from bt.memory.ram import GuestRam
from tests.devices.storage.qtest import Qtest, needs_qemu
from tests.devices.storage.virtio.virtio_rig import (
    CONFIG_WCE,
    DATA,
    EVENT_INDEX,
    FLUSH,
    HEADERS,
    INDIRECT,
    INDIRECT_FEATURE,
    NEXT,
    PORTS,
    RING,
    VERSION_1,
    WINDOW,
    WRITE,
    OurVirtio,
    Virtio,
    qemu_virtio,
)
from tests.disks.memory_image import MemoryImage

SECTORS = 3000
CONTENT = random.Random(7).randbytes(SECTORS * 512)
BOTH = pytest.mark.parametrize("modern", [False, True], ids=["ports", "memory"])


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[OurVirtio, Qtest]]:
    for name in ("ours", "theirs"):
        (tmp_path / name).write_bytes(CONTENT)
    disk = open_disk(str(tmp_path / "ours"))
    qemu = qemu_virtio(tmp_path / "theirs")
    yield OurVirtio(disk), qemu
    disk.close()
    qemu.close()


def pieces(rng: random.Random, n: int, flags: int) -> list[tuple[int, int, int]]:
    """`n` bytes in pieces all over DATA."""
    found, address = [], DATA
    while n:
        piece = min(n, rng.randint(1, 3000))
        found.append((address, piece, flags))
        address += piece + rng.randrange(100)
        n -= piece
    return found


def session(driver: Virtio, rng: random.Random) -> Iterator[object]:
    indirect = rng.random() < 0.5
    yield driver.start(FLUSH | (INDIRECT_FEATURE if indirect else 0), rng.choice([None, 16]))
    yield driver.config(0, 4), driver.config(4, 4), driver.config(0x14, 4), driver.isr()
    for _ in range(40):
        match rng.randrange(9):
            case 0 | 1 | 2:
                n = rng.randint(1, 12) * 512
                lba = rng.randrange(SECTORS - 20)
                yield driver.do(0, lba, pieces(rng, n, WRITE)[:12], indirect), driver.isr()
                yield driver.board.read(DATA, 0x2000)
            case 3 | 4:
                n = rng.randint(1, 12) * 512
                driver.board.write(DATA, rng.randbytes(0x2000))
                yield driver.do(1, rng.randrange(SECTORS - 20), pieces(rng, n, 0)[:12], indirect), driver.isr()
            case 5:
                yield driver.do(4, 0, []), driver.isr()
            case 6:
                driver.board.write(DATA, bytes(64))
                yield driver.do(8, 0, [(DATA, 20, WRITE)])[0], driver.board.read(DATA, 64)
            case 7:
                yield driver.do(rng.choice([0, 1]), rng.choice([SECTORS, 1 << 60]), [])[0]
                yield driver.do(0, SECTORS - 1, [(DATA, 1024, WRITE)])[0]
                yield driver.do(0, 0, [(DATA, 700, WRITE)])[0]
            case 8:
                yield driver.do(rng.choice([78, 0x10000]), 0, [(DATA, 512, WRITE)])[0]


@needs_qemu
@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_sessions(pair: tuple[OurVirtio, Qtest], modern: bool, seed: int, tmp_path: Path) -> None:
    sessions = [session(Virtio(board, modern), random.Random(seed)) for board in pair]
    for number, (ours, theirs) in enumerate(zip(*sessions, strict=True)):
        assert ours == theirs, number
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@needs_qemu
def test_our_features_are_some_of_qemus(pair: tuple[OurVirtio, Qtest]) -> None:
    for modern in (False, True):
        ours, theirs = (Virtio(board, modern).features() for board in pair)
        assert not ours & ~theirs
        assert ours & FLUSH
        assert bool(ours & VERSION_1) == modern


def rig(image: MemoryImage | None = None, ram: GuestRam | None = None) -> tuple[OurVirtio, MemoryImage]:
    image = image or MemoryImage(CONTENT)
    return OurVirtio(Disk(image), ram), image


def test_large_requests_are_best() -> None:
    """Linux reads ahead twice `opt_io_size` (5.2.4: at offset 28, in blocks)."""
    ours, _ = rig()
    assert ours.device.features & TOPOLOGY
    assert int.from_bytes(ours.device.config[28:32], "little") * 512 == OPTIMAL_BYTES
    assert ours.device.config[32] == 1, "the write cache's byte is where it was"


def test_several_requests_at_once_and_interrupts_by_event_index() -> None:
    ours, _ = rig()
    driver = Virtio(ours, modern=True)
    assert driver.start(EVENT_INDEX | FLUSH) == 15
    interrupts = []
    ours.device.interrupt = lambda: interrupts.append(ours.device.queues[0].next_used)
    event = driver.driver_area + 4 + 2 * driver.size
    ours.write(event, struct.pack("<H", 4))  # after the fifth
    heads = [driver.request(0, n, [(DATA + 512 * n, 512, WRITE)], slot=n) for n in range(8)]
    driver.notify()
    found = [driver.wait_used() for _ in range(8)]
    assert sorted(found) == [(head, 513) for head in heads]
    assert ours.read(DATA, 8 * 512) == CONTENT[: 8 * 512]
    assert interrupts == [5]
    assert ours.read(driver.device_area + 4 + 8 * driver.size, 2) == struct.pack("<H", 8)  # avail_event


@pytest.mark.parametrize(
    ("features", "cache", "flushes"),
    [(0, None, 1), (FLUSH, None, 0), (FLUSH | CONFIG_WCE, None, 0), (FLUSH | CONFIG_WCE, 0, 1), (CONFIG_WCE, 1, 0)],
)
def test_when_a_write_is_on_the_medium(features: int, cache: int | None, flushes: int) -> None:
    ours, image = rig()
    driver = Virtio(ours, modern=True)
    driver.start(features)
    if cache is not None:
        ours.store(WINDOW + 0x2020, 1, cache)
        assert driver.config(0x20, 1) == cache
    assert driver.do(1, 5, [(DATA, 512, 0)])[0] == 0
    assert image.flushes == flushes
    assert driver.do(4, 0, [])[0] == 0
    assert image.flushes == flushes + 1


def test_errors_of_the_host() -> None:
    ours, image = rig()
    driver = Virtio(ours, modern=True)
    driver.start(FLUSH)
    image.broken = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert driver.do(1, 0, [(DATA, 512, 0)]) == (1, 1)
    assert driver.do(4, 0, []) == (1, 1)


def test_a_read_only_disk() -> None:
    ours, image = rig(MemoryImage(CONTENT, read_only=True))
    driver = Virtio(ours, modern=True)
    assert driver.features() & 1 << 5
    driver.start(FLUSH)
    assert driver.do(1, 0, [(DATA, 512, 0)])[0] == 1
    assert image.bytes == CONTENT


def test_features_that_were_not_offered_are_refused() -> None:
    ours, _ = rig()
    assert Virtio(ours, modern=True).start(1 << 14) & 8 == 0


def test_capabilities_say_where_the_windows_are() -> None:
    for found in capabilities(4):
        length, kind, bar = found[:3]
        assert length == len(found) + 2
        assert bar == 4
        assert int.from_bytes(found[6:10], "little") == WINDOWS[kind]


def test_a_reset_forgets_requests() -> None:
    ours, _ = rig()
    driver = Virtio(ours, modern=False)
    driver.start()
    driver.request(0, 0, [(DATA, 512, WRITE)])
    driver.notify()
    ours.out(PORTS + 0x12, 1, 0)
    ours.step(10_000_000)
    assert ours.read(DATA, 512) == bytes(512)
    assert not ours.line.level


BROKEN: dict[str, Callable[[Virtio], object]] = {
    "a chain that is a circle": lambda d: d.board.write(d.descriptors, struct.pack("<QIHH", HEADERS, 16, NEXT, 0)),
    "a descriptor that is not there": lambda d: d.board.write(
        d.descriptors, struct.pack("<QIHH", HEADERS, 16, NEXT, d.size)
    ),
    "reading after writing": lambda d: d.board.write(
        d.descriptors, struct.pack("<QIHHQIHH", DATA, 16, NEXT | WRITE, 1, DATA, 16, 0, 0)
    ),
    "no status": lambda d: d.board.write(d.descriptors, struct.pack("<QIHH", HEADERS, 16, 0, 0)),
    "no header": lambda d: d.board.write(d.descriptors, struct.pack("<QIHH", HEADERS, 16, WRITE, 0)),
    "an empty table": lambda d: d.board.write(d.descriptors, struct.pack("<QIHH", HEADERS, 0, INDIRECT, 0)),
    "part of a table": lambda d: d.board.write(d.descriptors, struct.pack("<QIHH", HEADERS, 17, INDIRECT, 0)),
    "a table in itself": lambda d: (
        d.board.write(d.descriptors, struct.pack("<QIHH", HEADERS, 16, INDIRECT, 0)),
        d.board.write(HEADERS, struct.pack("<QIHH", HEADERS, 16, INDIRECT, 0)),
    ),
    "a circle in a table": lambda d: (
        d.board.write(d.descriptors, struct.pack("<QIHH", HEADERS, 16 * 65536, INDIRECT, 0)),
        d.board.write(HEADERS, struct.pack("<QIHH", DATA, 16, NEXT, 0)),
    ),
    "a table nowhere": lambda d: d.board.write(d.descriptors, struct.pack("<QIHH", 1 << 63, 0xFFFFFFF0, INDIRECT, 0)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_rings_that_cannot_be(what: str) -> None:
    ours, _ = rig()
    driver = Virtio(ours, modern=True)
    driver.start(FLUSH | INDIRECT_FEATURE)
    BROKEN[what](driver)
    driver.offer(0)
    driver.notify()
    assert ours.load(WINDOW + 0x14, 1) & 64
    assert driver.isr() == 2
    driver.notify()
    assert driver.isr() == 0
    driver = Virtio(ours, modern=True)
    assert driver.start(FLUSH) == 15  # as good as new
    assert driver.do(0, 3, [(DATA, 512, WRITE)])[0] == 0


def test_more_requests_than_the_ring_has() -> None:
    ours, _ = rig()
    driver = Virtio(ours, modern=True)
    driver.start(FLUSH)
    ours.write(driver.driver_area + 2, struct.pack("<H", driver.size + 1))
    driver.notify()
    assert ours.load(WINDOW + 0x14, 1) & 64


def test_no_more_requests_are_under_way_than_the_ring_has() -> None:
    """A driver that makes the same ones available again before they are done makes the host keep them all."""
    ours, _ = rig()
    driver = Virtio(ours, modern=True)
    driver.start(FLUSH)
    head = driver.request(4, 0, [])
    driver.notify()
    for more in (driver.size - 1, 200):
        for _ in range(more):
            driver.offer(head)
        driver.notify()
        assert len(ours.device.state()["under_way"]) == driver.size
    used = int.from_bytes(ours.read(driver.device_area + 2, 2), "little")
    ours.step(1_000_000)
    assert int.from_bytes(ours.read(driver.device_area + 2, 2), "little") == used + driver.size + 200


def test_lengths_beyond_reason() -> None:
    ours, _ = rig()
    driver = Virtio(ours, modern=True)
    driver.start(FLUSH)
    assert driver.do(0, 0, [(DATA, 0xFFFFFE00, WRITE)])[0] == 1
    assert driver.do(1, 0, [(1 << 62, 0xFFFFFE00, 0)] * 3)[0] == 1
    assert driver.do(0, 0, [(1 << 40, 1024, WRITE)])[0] == 0  # to nowhere
    assert driver.do(1, 0, [((1 << 64) - 256, 512, 0)])[0] == 0  # from nowhere


def senseless(machine: OurVirtio, rng: random.Random) -> int | None:
    """One access, or some random memory where rings and headers are."""
    match rng.randrange(8):
        case 0:
            machine.write(RING + rng.randrange(0x3000), rng.randbytes(rng.randint(1, 64)))
        case 1:
            place = RING + 16 * rng.randrange(16)
            address = rng.choice([RING, RING + 0x1000, RING + 0x2000, HEADERS, DATA, rng.getrandbits(64)])
            length = rng.choice([16, 1, 512, 513, 4096, rng.getrandbits(32)])
            machine.write(
                place, struct.pack("<QIHH", address, length, rng.choice([0, 1, 1, 2, 3, 3, 4]), rng.randrange(18))
            )
        case 2:
            machine.write(HEADERS, struct.pack("<IIQ", rng.choice([0, 0, 1, 4, 8, 9]), 0, rng.randrange(SECTORS)))
        case 3:
            base = rng.choice([0x1000, 0x1002])
            machine.write(RING + base, struct.pack("<H", rng.randrange(20)))
        case 4:
            if rng.random() < 0.2:
                machine.store(WINDOW + 0x14, 1, 0)
                Virtio(machine, modern=True).start(FLUSH | INDIRECT_FEATURE | EVENT_INDEX * rng.randrange(2), 16)
            machine.store(WINDOW + 0x3000, 2, 0)
        case 5:
            machine.step(rng.choice([100, 30_000]))
        case 6:
            machine.store(WINDOW + rng.randrange(0x38), rng.choice([1, 2, 4]), rng.getrandbits(32))
        case 7:
            return machine.load(
                WINDOW + rng.choice([*range(0x38), 0x1000, *range(0x2000, 0x2030)]), rng.choice([1, 2, 4])
            )
    return None


@pytest.mark.parametrize("seed", range(12))
def test_senseless_traffic_and_a_second_machine_from_its_state(seed: int) -> None:
    rng = random.Random(seed)
    ours, image = rig()
    Virtio(ours, modern=True).start(FLUSH | INDIRECT_FEATURE, 16)
    for _ in range(rng.randrange(100, 1500)):
        senseless(ours, rng)
    state = json.loads(json.dumps(ours.state()))
    other, other_image = rig(MemoryImage(image.bytes))
    other.write(0, ours.read(0, ours.ram.size))
    other.restore(state)
    assert json.loads(json.dumps(other.state())) == state
    rngs = random.Random(seed), random.Random(seed)
    for _ in range(600):
        assert senseless(ours, rngs[0]) == senseless(other, rngs[1])
        assert ours.line.level == other.line.level
    assert ours.read(0, ours.ram.size) == other.read(0, ours.ram.size)
    assert image.bytes == other_image.bytes


@pytest.mark.parametrize("seed", range(6))
def test_state_with_requests_under_way(seed: int) -> None:
    rng = random.Random(seed)
    ours, image = rig()
    driver = Virtio(ours, modern=bool(seed % 2))
    driver.start(FLUSH)
    expected = []
    for n in range(6):
        is_write = rng.random() < 0.5
        data = rng.randbytes(1024)
        if is_write:
            ours.write(DATA + 1024 * n, data)
        driver.request(int(is_write), 10 * n, [(DATA + 1024 * n, 1024, 0 if is_write else WRITE)], slot=n)
        expected.append((is_write, data))
    driver.notify()
    ours.step(rng.choice([0, 20_100, 20_600]))
    state = json.loads(json.dumps(ours.state()))
    memory = ours.read(0, ours.ram.size)
    other, other_image = rig(MemoryImage(image.bytes))
    other.write(0, memory)
    other.restore(state)
    driver.board = other
    for _ in range(6):
        driver.wait_used()
    for n, (is_write, data) in enumerate(expected):
        assert other.read(HEADERS + 32 * n + 16, 1) == b"\0"
        if is_write:
            assert other_image.bytes[5120 * n : 5120 * n + 1024] == data
        else:
            assert other.read(DATA + 1024 * n, 1024) == CONTENT[5120 * n : 5120 * n + 1024]


def test_each_set_of_registers_has_the_state() -> None:
    """A machine's snapshots ask what is on its buses."""
    ours, _ = rig()
    driver = Virtio(ours, modern=True)
    driver.start(FLUSH)
    driver.request(0, 1, [(DATA, 512, WRITE)])
    driver.notify()
    for bus in (ours.ports, ours.memory):
        (region,) = bus.regions
        assert isinstance(region.device, Device)
        other, _ = rig()
        other.write(0, ours.read(0, ours.ram.size))
        other.clock.restore(ours.clock.state())
        for copy in (other.ports, other.memory):
            if copy.name == bus.name:
                device = copy.regions[0].device
                assert isinstance(device, Device)
                device.load(json.loads(json.dumps(region.device.save())))
        other.step(100_000)
        assert other.read(DATA, 512) == CONTENT[512:1024]
