"""The CD-ROM drive: medium changes, lock, sense, byte counts, DMA."""

import json
import random

import pytest

from bt.disks.disk import Disk
from tests.devices.storage.rig import ERR, Ide, Ours
from tests.disks.memory_image import MemoryImage

CD = random.Random(2).randbytes(300 * 2048 + 700)
OTHER_CD = random.Random(3).randbytes(50 * 2048)
TEST_UNIT_READY, REQUEST_SENSE = bytes(1), bytes([3, 0, 0, 0, 18])


def cd(content: bytes = CD) -> Disk:
    return Disk(MemoryImage(content.ljust(-(-len(content) // 512) * 512, b"\0"), read_only=True))


def rig(medium: Disk | None) -> tuple[Ours, Ide]:
    ours = Ours(Disk(MemoryImage()), medium)
    return ours, Ide(ours)


def sense(driver: Ide) -> tuple[int, int, int]:
    data = driver.packet(REQUEST_SENSE)[3]
    return data[2], data[12], data[13]


def test_a_drive_without_a_medium() -> None:
    _, driver = rig(None)
    status, error, _, _ = driver.packet(TEST_UNIT_READY)
    assert status & ERR
    assert error >> 4 == 2
    assert sense(driver) == (2, 0x3A, 0)
    assert sense(driver) == (0, 0, 0)
    assert driver.packet(bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1]))[1] >> 4 == 2
    assert driver.packet(bytes([0x12, 0, 0, 0, 36]))[3][:2] == b"\x05\x80"


def test_a_change_of_medium_is_told_once() -> None:
    ours, driver = rig(cd())
    assert driver.packet(TEST_UNIT_READY)[0] == 0x50
    ours.cdrom.insert(cd(OTHER_CD))
    assert driver.packet(bytes([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]))[3] == bytes([0, 6, 4, 0x10, 2, 2, 0, 0])
    assert driver.packet(bytes([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]))[3][4] == 0
    assert driver.packet(bytes([0x12, 0, 0, 0, 36]))[0] == 0x50  # INQUIRY goes through
    status, error, _, _ = driver.packet(bytes([0x25]))
    assert status & ERR
    assert error >> 4 == 6
    assert driver.packet(bytes([0x25]))[3] == bytes([0, 0, 0, 49, 0, 0, 8, 0])
    ours.cdrom.insert(None)
    assert driver.packet(TEST_UNIT_READY)[1] >> 4 == 2


def test_the_lock() -> None:
    ours, driver = rig(cd())
    driver.packet(bytes([0x1E, 0, 0, 0, 1]))
    assert ours.cdrom.is_locked
    assert driver.packet(bytes([0x1B, 0, 0, 0, 2]))[0] & ERR
    assert sense(driver) == (5, 0x53, 2)
    driver.packet(bytes([0x1E]))
    assert driver.packet(bytes([0x1B, 0, 0, 0, 2]))[0] == 0x50
    assert driver.packet(bytes([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]))[3][5] & 1  # the tray is open


def test_a_partial_last_block_is_not_there() -> None:
    _, driver = rig(cd())
    assert driver.packet(bytes([0x25]))[3][:4] == bytes([0, 0, 1, 43])


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 2047, 2048, 3000, 0xFFFF])
def test_blocks_are_no_longer_than_the_host_allows(limit: int) -> None:
    _, driver = rig(cd())
    status, _, blocks, data = driver.packet(bytes([0x28, 0, 0, 0, 0, 9, 0, 0, 3]), limit)
    assert status == 0x50
    assert data == CD[9 * 2048 : 12 * 2048]
    most = min(limit, 0xFFFE) & ~1 or 0xFFFE
    assert max(blocks) <= most
    assert all(n % 2 == 0 for n in blocks[:-1])


def test_an_odd_allocation_length() -> None:
    _, driver = rig(cd())
    _, _, blocks, data = driver.packet(bytes([0x12, 0, 0, 0, 5]))
    assert blocks == [5]
    assert data == bytes([5, 0x80, 0, 0x21, 31])
    assert driver.packet(bytes([0x12, 0, 0, 0, 0])) == (0x50, 0, [], b"")


def test_a_long_read_goes_through_several_chunks() -> None:
    _, driver = rig(cd())
    _, _, _, data = driver.packet(bytes([0xA8, 0, 0, 0, 0, 20, 0, 0, 0, 200]), 0xF000)
    assert data == CD[20 * 2048 : 220 * 2048]


def test_dma() -> None:
    ours, driver = rig(cd())
    driver.dma([(0x2000, 4096), (0x8000, 0x10000)], to_memory=True)
    driver.packet(bytes([0x28, 0, 0, 0, 0, 9, 0, 0, 34]), dma=True)
    assert driver.start(to_memory=True) & 0x05 == 4
    assert driver.settle() == 0x50
    assert driver.reg(2) & 3 == 3
    data = CD[9 * 2048 : 43 * 2048]
    assert ours.ram.read(0x2000, 4096) + ours.ram.read(0x8000, 0x10000) == data


def test_a_medium_that_goes_during_a_read() -> None:
    ours, driver = rig(cd())
    driver.set(6, 0xB0)
    driver.set(4, 0)
    driver.set(5, 8)
    driver.set(7, 0xA0)
    driver.words_out(bytes([0xA8, 0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0]))
    ours.cdrom.insert(None)
    assert driver.settle() & ERR
    assert sense(driver) == (2, 0x3A, 0)


def test_commands_of_disks_show_what_this_is() -> None:
    _, driver = rig(cd())
    for command in (0xEC, 0x20):
        assert driver.command(command, device=0xB0) & ERR
        assert driver.registers() == [4, 1, 1, 0x14, 0xEB, 0xB0]
    assert driver.command(0x08, device=0xB0) == 0
    assert driver.registers()[1:5] == [1, 1, 0x14, 0xEB]


@pytest.mark.parametrize("seed", range(6))
def test_state_in_the_middle_of_a_packet_command(seed: int) -> None:
    rng = random.Random(seed)
    ours, driver = rig(cd())
    driver.set(6, 0xB0)
    driver.set(5, 8)
    driver.set(7, 0xA0)
    packet = bytes([0x28, 0, 0, 0, 0, 5, 0, 0, 3, 0, 0, 0])
    moved = rng.choice([rng.randrange(1, 6), rng.randrange(6 + 3 * 1024)])
    data = b""
    for word in range(6 + 3 * 1024):
        if word == moved:
            state = json.loads(json.dumps(ours.state()))
            ours, driver = rig(cd())
            ours.restore(state)
        driver.settle()
        if word < 6:
            driver.words_out(packet[2 * word : 2 * word + 2])
        else:
            data += driver.words_in(1)
    assert driver.settle() == 0x50
    assert driver.reg(2) & 3 == 3
    assert data == CD[5 * 2048 : 8 * 2048]
