"""The diskette controller: formatting, write protection, resets, errors, geometries, state, and senseless traffic."""

import errno
import json
import os
import random
from collections.abc import Iterator

import pytest

from bt.devices.storage.floppy.floppy_media import GEOMETRIES, FloppyDrive, Geometry, geometry_of
from bt.disks.disk import Disk
from tests.devices.storage.floppy.floppy_rig import BUSY, RQM, Floppy, OurFloppy
from tests.disks.memory_image import MemoryImage

CONTENT = random.Random(6).randbytes(2880 * 512)


def rig(content: bytes | bytearray = CONTENT, read_only: bool = False) -> tuple[OurFloppy, Floppy, MemoryImage]:
    image = MemoryImage(content, read_only=read_only)
    ours = OurFloppy(Disk(image))
    driver = Floppy(ours)
    driver.reset()
    return ours, driver, image


def at(cylinder: int, head: int, sector: int) -> int:
    return ((cylinder * 2 + head) * 18 + sector - 1) * 512


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_each_geometry_is_known_by_its_size(geometry: Geometry) -> None:
    total = geometry.total
    assert geometry_of(total) == geometry
    drive = FloppyDrive(Disk(MemoryImage(bytes(total * 512))))
    drive.cylinder = drive.geometry.cylinders - 1
    assert drive.sector(drive.geometry.heads - 1, drive.geometry.sectors) == total - 1
    assert drive.sector(drive.geometry.heads - 1, drive.geometry.sectors + 1) is None
    drive.cylinder += 1
    assert drive.sector(0, 1) is None


def test_an_image_of_another_size_reads_as_zeros_beyond() -> None:
    ours, driver, image = rig(CONTENT[: 512 * 30])
    ours.ram.write(0x20000, b"x" * 18 * 512)
    driver.set_dma(0x20000, 18 * 512, 0x44)
    assert driver.transfer(0x46, 0, 1, 1, 18)[:3] == [4, 0, 0]
    assert ours.ram.read(0x20000, 18 * 512) == CONTENT[18 * 512 : 30 * 512] + bytes(6 * 512)
    driver.set_dma(0x20000, 512, 0x44)
    assert driver.transfer(0x46, 5, 0, 1, 18)[:3] == [0, 0, 0]
    assert ours.ram.read(0x20000, 512) == bytes(512)
    driver.set_dma(0x20000, 512, 0x48)
    assert driver.transfer(0x45, 5, 0, 1, 18)[:3] == [0x40, 4, 0]
    assert image.size == 512 * 30


def test_format_track() -> None:
    ours, driver, image = rig()
    driver.seek(7)
    order = random.Random(1).sample(range(1, 19), 18)
    ours.ram.write(0x20000, b"".join(bytes([7, 1, number, 2]) for number in order))
    driver.set_dma(0x20000, 4 * 18, 0x48)
    driver.send(0x4D, 4, 2, 18, 0x54, 0xF6)
    driver.wait_interrupt()
    assert driver.results()[:3] == [4, 0, 0]
    assert image.bytes[at(7, 1, 1) : at(8, 0, 1)] == b"\xf6" * (18 * 512)
    assert image.bytes[: at(7, 1, 1)] == CONTENT[: at(7, 1, 1)]
    assert image.bytes[at(8, 0, 1) :] == CONTENT[at(8, 0, 1) :]


def test_part_of_a_sector_is_filled_with_zeros() -> None:
    ours, driver, image = rig()
    ours.ram.write(0x20000, b"p" * 700)
    driver.set_dma(0x20000, 700, 0x48)
    assert driver.transfer(0x45, 0, 0, 3, 18) == [0, 0, 0, 0, 0, 5, 2]
    assert image.bytes[at(0, 0, 3) : at(0, 0, 5)] == b"p" * 700 + bytes(324)


def test_write_protection() -> None:
    _, driver, image = rig(read_only=True)
    driver.set_dma(0x20000, 512, 0x48)
    assert driver.transfer(0x45, 0, 0, 1, 18)[:3] == [0x40, 2, 0]
    assert driver.command(4, 0) == [0x78]
    driver.send(0x4D, 0, 2, 18, 0x54, 0xF6)
    driver.wait_interrupt()
    assert driver.results()[:3] == [0x40, 2, 0]
    assert image.bytes == CONTENT


@pytest.mark.parametrize("command", [0x46, 0x45, 0x56])
def test_errors_of_the_host(command: int) -> None:
    _, driver, image = rig()
    image.broken = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    driver.set_dma(0x20000, 512, 0x48 if command == 0x45 else 0x44)
    assert driver.transfer(command, 0, 0, 1, 18)[:3] == [0x40, 0x20, 0]


def test_no_diskette_and_changes() -> None:
    ours, driver, _ = rig()
    driver.seek(1)
    assert ours.inp(0x3F7, 1) == 0
    ours.drives[0].insert(None)
    assert ours.inp(0x3F7, 1) == 0x80
    driver.seek(2)
    assert ours.inp(0x3F7, 1) == 0x80
    assert driver.transfer(0x46, 2, 0, 1, 18)[:3] == [0x40, 1, 0]
    ours.drives[0].insert(Disk(MemoryImage(bytes(1440 * 512))))
    assert ours.inp(0x3F7, 1) == 0x80
    driver.recalibrate()
    assert ours.inp(0x3F7, 1) == 0
    assert driver.transfer(0x46, 0, 0, 1, 9)[:3] == [0x40, 1, 0]  # at another rate
    ours.out(0x3F7, 1, 2)
    driver.set_dma(0x20000, 512, 0x44)
    assert driver.transfer(0x46, 0, 0, 1, 9)[:3] == [0, 0, 0]
    ours.out(0x3F2, 1, 0x0C)  # the change line is seen only with the motor on
    ours.drives[0].insert(None)
    assert ours.inp(0x3F7, 1) == 0


def test_a_cylinder_that_is_not_this_one() -> None:
    _, driver, _ = rig()
    driver.command(0x13, 0, 0x20, 0)  # no implied seek
    driver.seek(4)
    assert driver.transfer(0x46, 5, 0, 1, 18)[:3] == [0x40, 4, 0x10]
    driver.command(0x13, 0, 0x60, 0)
    driver.set_dma(0x20000, 512, 0x44)
    assert driver.transfer(0x46, 5, 0, 1, 18)[:3] == [0, 0, 0]


def test_the_end_of_the_track_without_terminal_count() -> None:
    _, driver, _ = rig()
    driver.set_dma(0x20000, 20 * 512, 0x44)
    assert driver.transfer(0x46, 0, 0, 10, 18)[:3] == [0x40, 0x80, 0]
    driver.set_dma(0x20000, 20 * 512, 0x44)
    assert driver.transfer(0x46, 0, 0, 10, 25)[:3] == [0x40, 4, 0]  # sector 19 is not there


def test_verify() -> None:
    _, driver, _ = rig()
    driver.send(0x56, 0, 3, 0, 1, 2, 18, 0x1B, 0xFF)
    driver.wait_interrupt()
    assert driver.results() == [0, 0, 0, 4, 0, 1, 2]
    driver.send(0xD6, 0x80, 3, 0, 17, 2, 18, 0x1B, 5)  # five sectors, over both heads
    driver.wait_interrupt()
    assert driver.results() == [4, 0, 0, 3, 1, 4, 2]


def test_lock_keeps_what_configure_set() -> None:
    ours, driver, _ = rig()
    driver.command(0x13, 0, 0x0A, 5)
    driver.reset()
    assert driver.command(0x0E)[8:] == [0x60, 0]
    driver.command(0x13, 0, 0x0A, 5)
    assert driver.command(0x94) == [0x10]
    driver.reset()
    assert driver.command(0x0E)[7:] == [0x80, 0x0A, 5]
    ours.out(0x3F4, 1, 0x80)  # by the data rate select register
    assert driver.command(8) == [0xC0, 0]


def test_a_masked_channel_makes_the_controller_wait() -> None:
    ours, driver, _ = rig()
    driver.set_dma(0x20000, 512, 0x44)
    ours.out(0x0A, 1, 6)
    driver.send(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    ours.step(10_000_000)
    assert not driver.interrupting
    assert driver.msr() == BUSY
    assert ours.inp(0x08, 1) == 0x40  # it asks
    ours.out(0xD4, 1, 4)  # the cascade
    ours.out(0x0A, 1, 2)
    assert not driver.interrupting
    ours.out(0xD4, 1, 0)
    assert driver.interrupting
    assert ours.inp(0x08, 1) == 0x04
    assert driver.results()[:3] == [0, 0, 0]


def test_the_gate_keeps_interrupts_away() -> None:
    ours, driver, _ = rig()
    driver.send(7, 0)
    ours.step(1_000_000)
    assert driver.interrupting
    ours.out(0x3F2, 1, 0x14)
    assert not driver.interrupting
    ours.out(0x3F2, 1, 0x1C)
    assert driver.interrupting
    assert driver.command(8) == [0x20, 0]
    assert not driver.interrupting


def test_a_reset_stops_a_command() -> None:
    ours, driver, _ = rig()
    driver.set_dma(0x20000, 512, 0x44)
    driver.send(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    ours.out(0x3F2, 1, 0)
    ours.step(10_000_000)
    assert not driver.interrupting
    assert driver.msr() == 0
    driver.reset()
    assert driver.msr() == RQM
    assert ours.ram.read(0x20000, 512) == bytes(512)


def senseless(rng: random.Random, length: int) -> Iterator[tuple[str, int, int]]:
    starts = [0x46, 0xC6, 0x45, 0xC5, 0x4D, 0x4A, 0x0F, 0x8F, 0xCF, 0x07, 0x08, 0x13, 0x56, 0xD6, 0x03, 0x0E]
    for _ in range(length):
        match rng.randrange(10):
            case 0:
                yield "out", 0x3F2, rng.choice([0x1C, 0x1C, 0x1C, 0x1D, 0x0C, 0, rng.randrange(256)])
            case 1 | 2 | 3:
                yield "out", 0x3F5, rng.choice([*starts, rng.randrange(256)])
                for _ in range(rng.choice([0, 2, 8, 8])):
                    yield "out", 0x3F5, rng.choice([0, 0, 1, 2, 2, 18, rng.randrange(256)])
            case 4:
                for _ in range(rng.choice([1, 7, 600])):
                    yield "in", 0x3F5, 0
            case 5:
                yield "out", rng.choice([0x3F4, 0x3F7]), rng.choice([0, 0, 2, 0x80, rng.randrange(256)])
            case 6:
                yield "out", rng.randrange(16), rng.randrange(256)
            case 7:
                for port, value in (
                    (0xD6, 0xC0),
                    (0xD4, 0),
                    (0x0A, 2),
                    (0x0B, rng.choice([0x46, 0x4A, 0x56, 0x66, 0x42])),
                ):
                    yield "out", port, value
            case 8:
                yield "in", rng.choice([*range(16), *range(0xC0, 0xE0), *range(0x81, 0x90)]), 0
            case _:
                yield "in", rng.choice([0x3F0, 0x3F1, 0x3F2, 0x3F3, 0x3F4, 0x3F7]), 0


@pytest.mark.parametrize("seed", range(8))
def test_senseless_traffic_and_a_second_machine_from_its_state(seed: int) -> None:
    rng = random.Random(seed)
    ours, _, image = rig()
    traffic = list(senseless(rng, 1500))
    cut = rng.randrange(len(traffic))

    def apply(machine: OurFloppy, access: tuple[str, int, int]) -> int | None:
        kind, port, value = access
        if kind == "in":
            return machine.inp(port, 1)
        machine.out(port, 1, value)
        return None

    for access in traffic[:cut]:
        apply(ours, access)
    state = json.loads(json.dumps(ours.state()))
    other, _, other_image = rig(image.bytes)
    other.ram.write(0, ours.ram.read(0, ours.ram.size))
    other.restore(state)
    assert other.state() == state
    for number, access in enumerate(traffic[cut:]):
        assert apply(ours, access) == apply(other, access), number
        assert ours.irq == other.irq
    assert ours.state() == other.state()
    assert image.bytes == other_image.bytes


@pytest.mark.parametrize("dma", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_state_in_the_middle_of_a_transfer(seed: int, dma: bool) -> None:
    rng = random.Random(seed)
    for _ in range(6):
        ours, driver, image = rig()
        driver.reset(dma)
        driver.set_dma(0x20000, 6 * 512, 0x44)
        driver.send(0x46, 0, 0, 0, 1, 2, 6, 0x1B, 0xFF)
        ours.step(rng.randrange(40_000))
        moved = rng.randrange(3000)
        data = b""
        for number in range(1 if dma else 6 * 512):
            if number == (0 if dma else moved):
                state = json.loads(json.dumps(ours.state()))
                memory = ours.ram.read(0x20000, 6 * 512)
                ours, _, _ = rig(image.bytes)
                ours.restore(state)
                ours.ram.write(0x20000, memory)
                driver = Floppy(ours)
            if not dma:
                driver.wait()
                data += bytes([ours.inp(0x3F5, 1)])
        driver.wait_interrupt()
        assert driver.results()[:2] == ([0, 0] if dma else [0x40, 0x80])
        assert (ours.ram.read(0x20000, 6 * 512) if dma else data) == CONTENT[: 6 * 512]
