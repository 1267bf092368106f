"""Guest RAM: bounds, the memfd behind it, and closing."""

import ctypes
import mmap
from pathlib import Path

import pytest

from bt.errors import BadUsage
from bt.memory.ram import GuestRam, OutsideRam
from bt.x86.page import PAGE

MIB = 1 << 20


def test_starts_zeroed_and_keeps_what_is_written() -> None:
    with GuestRam(MIB) as ram:
        assert ram.read(0, MIB) == bytes(MIB)
        ram.write(0x1FFE, b"abcd")  # across pages
        assert ram.read(0x1FFD, 6) == b"\0abcd\0"
        ram.write(MIB - 1, bytearray(b"z"))
        assert ram.read(MIB - 1, 1) == b"z"
        assert ram.read(MIB, 0) == b""


def test_view_address_and_fd_are_the_same_memory() -> None:
    with GuestRam(4 * PAGE) as ram, mmap.mmap(ram.fd, ram.size) as second:
        ram.write(5, b"\x11")
        ctypes.c_uint8.from_address(ram.address + 6).value = 0x22
        second[7] = 0x33
        assert ram.read(5, 3) == second[5:8] == bytes(ram.view[5:8]) == b"\x11\x22\x33"
        assert ram.address % PAGE == 0


@pytest.mark.parametrize(("paddr", "length"), [(-1, 1), (MIB, 1), (MIB - 3, 4), (0, MIB + 1), (1 << 64, 1)])
def test_accesses_outside_are_refused_whole(paddr: int, length: int) -> None:
    with GuestRam(MIB) as ram:
        with pytest.raises(OutsideRam, match=hex(length)):
            ram.read(paddr, length)
        with pytest.raises(OutsideRam):
            ram.write(paddr, b"\xff" * length)
        assert ram.read(MIB - 4, 4) == bytes(4)


@pytest.mark.parametrize("size", [0, -4096, 4095, 1 << 70])
def test_impossible_sizes_are_bad_usage(size: int) -> None:
    with pytest.raises(BadUsage, match="guest RAM of"):
        GuestRam(size)


def test_untouched_memory_costs_nothing() -> None:
    def resident_kib() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))

    before = resident_kib()
    with GuestRam(1024 * MIB) as ram:
        ram.write(512 * MIB, b"x")
        assert resident_kib() - before < 64 * 1024


def test_closing_twice_is_harmless_and_releases_the_descriptor() -> None:
    ram = GuestRam(PAGE)
    descriptor = Path(f"/proc/self/fd/{ram.fd}")
    assert "bt-guest-ram" in str(descriptor.readlink())
    ram.close()
    ram.close()
    assert not descriptor.exists() or "bt-guest-ram" not in str(descriptor.readlink())


def test_closing_with_a_slice_alive_leaves_it_readable() -> None:
    def mapped() -> bool:
        return f"{ram.address:x}-" in Path("/proc/self/maps").read_text()

    ram = GuestRam(PAGE)
    ram.write(0, b"kept")
    piece = ram.view[0:4]
    ram.close()
    assert (bytes(piece), mapped()) == (b"kept", True)
    del piece
    assert not mapped()
