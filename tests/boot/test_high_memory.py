"""Guests with more RAM than lies below the addresses of devices: what loaders tell them, and where they put things."""

from __future__ import annotations

import struct

import pytest

from bt.boot.detect import load
from bt.errors import BadUsage
from bt.firmware.e820 import memory_map, upper_kib
from bt.machine import MachineConfig
from bt.memory.ram import GuestRam
from tests.boot.images import bzimage

GIB = 1 << 30
HOLE = 0xE000_0000


@pytest.mark.parametrize(
    ("size", "low", "high"), [(3 * GIB, 3 * GIB, 0), (HOLE, HOLE, 0), (HOLE + 4096, HOLE, 4096), (64 * GIB, HOLE, None)]
)
def test_the_map_has_both_pieces(size: int, low: int, high: int | None) -> None:
    usable = [(each.base, each.length) for each in memory_map(size) if each.type == 1][1:]
    above = size - HOLE if high is None else high
    assert usable == [(0x10_0000, low - 0x10_0000), *([(1 << 32, above)] if above else [])]
    assert upper_kib(size) == (low - 0x10_0000) // 1024


def test_linux_is_told_and_its_initrd_lies_below_the_hole() -> None:
    initrd = bytes(range(256)) * 16
    with GuestRam(5 * GIB) as ram:
        load(bzimage(b"code" * 512, initrd_addr_max=0xFFFF_FFFF), ram, initrd=initrd)
        page = ram.read(0x1_0000, 4096)
        assert struct.unpack_from("<QQI", page, 0x2D0 + 20 * (page[0x1E8] - 1)) == (1 << 32, 5 * GIB - HOLE, 1)
        assert struct.unpack_from("<II", page, 0x218) == (HOLE - len(initrd), len(initrd))
        assert ram.read(HOLE - len(initrd), len(initrd)) == initrd


@pytest.mark.parametrize("cpu", ["486", "pentium"])
def test_a_processor_with_32_address_lines_cannot_have_it(cpu: str) -> None:
    MachineConfig(memory=HOLE, cpu=cpu)
    with pytest.raises(BadUsage, match=f"a {cpu} has no address lines for more than 3584M; give less"):
        MachineConfig(memory=HOLE + 4096, cpu=cpu)


def test_the_most_there_can_be() -> None:
    """Its end is that of 36 address bits."""
    most = 64 * GIB - (4 * GIB - HOLE)
    assert memory_map(most)[-1].base + memory_map(most)[-1].length == 1 << 36
    MachineConfig(memory=most, cpu="pentium3")
    with pytest.raises(BadUsage, match=r"a guest has 2M to 63\.5G"):
        MachineConfig(memory=most + 4096, cpu="pentium3")
