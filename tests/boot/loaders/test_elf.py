"""Plain ELF executables and raw images: flat protected mode, and every lie a header can tell."""

import pytest

from bt.boot.detect import load
from bt.boot.state import GENERAL_REGISTERS, SEGMENT_REGISTERS, SegmentSetting
from bt.errors import BadImage, BadUsage
from tests.boot.images import Ram, Segment, elf

CODE = bytes(range(1, 65))


def test_segments_and_bss_land_at_their_physical_addresses() -> None:
    ram = Ram(fill=0xAA)
    high = Segment(0x20_0000, b"data", memsz=0x2000, vaddr=0xC020_0000)
    state = load(elf([Segment(0x10_0000, CODE), high], 0x10_0004), ram)
    assert ram.read(0x10_0000, 64) == CODE
    assert ram.read(0x20_0000, 0x2001) == b"data" + bytes(0x1FFC) + b"\xaa"
    assert (state.entry_kind, state.eip) == ("flat", 0x10_0004)


def test_virtual_entry_becomes_physical() -> None:
    state = load(elf([Segment(0x10_0000, CODE, vaddr=0xC010_0000)], 0xC010_0008), Ram())
    assert state.eip == 0x10_0008


def test_flat_entry_state() -> None:
    ram = Ram()
    state = load(CODE, ram, flat=0x20_0000)
    assert ram.read(0x20_0000, 64) == CODE
    assert state.eip == 0x20_0000
    assert state.eflags == 2
    assert state.cr0 == 0x11
    assert set(state.gpr) == set(GENERAL_REGISTERS)
    assert set(state.segments) == set(SEGMENT_REGISTERS)
    assert state.segments["cs"] == SegmentSetting(0x08, 0, 0xFFFF_FFFF, 0x9B, True)
    assert {state.segments[name] for name in ["ds", "es", "ss", "fs", "gs"]} == {
        SegmentSetting(0x10, 0, 0xFFFF_FFFF, 0x93, True)
    }
    # what the GDT says must be what the descriptor caches say: guests reload their segments
    assert state.gdt_limit == 23
    assert ram.read(state.gdt_base, 24).hex() == "0" * 16 + "ffff0000009bcf00" + "ffff00000093cf00"
    # the stack page lies between the tables and what is below
    assert ram.read(state.gpr["esp"] - 4096, 4096) == bytes(4096)
    assert state.gpr["esp"] == 0x9000


@pytest.mark.parametrize(
    ("address", "length", "is_free"),
    [
        (0x20_0000, 1, True),
        (0x3FF, 1, True),
        (0x3FF, 2, False),
        (0x4FF, 1, False),
        (0x500, 1, True),
        (0x9_FC00, 1, False),
    ],
)
def test_an_image_is_not_overwritten_by_what_a_bios_would_have_there(address: int, length: int, is_free: bool) -> None:
    assert load(b"\xf4" * length, Ram(), flat=address).has_data_area is is_free


@pytest.mark.parametrize("address", [0, 0x400, 0x7C00, 0x8000, 0x9000])
def test_tables_keep_clear_of_a_low_image(address: int) -> None:
    ram = Ram()
    image = bytes([0x90]) * 0x3000
    state = load(image, ram, flat=address)
    assert ram.read(address, len(image)) == image
    assert state.gdt_base >= address + len(image) or state.gdt_base + 24 <= address


def test_image_that_fills_low_memory_sends_the_tables_above_one_mebibyte() -> None:
    ram = Ram()
    image = bytes([0x90]) * 0xA_0000
    state = load(image, ram, flat=0)
    assert ram.read(0, len(image)) == image
    assert state.gdt_base == 0x10_1000


GOOD = elf([Segment(0x10_0000, CODE)], 0x10_0000)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (GOOD[:40], "header is cut off"),
        (GOOD[:70], "program headers at 0x34..0x53 lie beyond the end"),
        (GOOD[:-30], "is it cut off?"),
        (elf([Segment(0x10_0000, CODE)], 0x10_0000, elf_class=2), "damaged ELF header (class 2"),
        (elf([Segment(0x10_0000, CODE)], 0x10_0000, encoding=2), "data encoding 2"),
        (elf([Segment(0x10_0000, CODE)], 0x10_0000, machine=40), "an ELF for ARM; bt's processor is a 32-bit x86"),
        (elf([Segment(0x10_0000, CODE)], 0x10_0000, kind=1), "a relocatable object"),
        (elf([Segment(0x10_0000, CODE)], 0x10_0000, kind=3), "position-independent"),
        (elf([], 0x10_0000), "0 ELF program headers"),
        (elf([Segment(0x10_0000, CODE, kind=4)], 0x10_0000), "without loadable segments"),
        (elf([Segment(0x10_0000, CODE), Segment(0, b"/lib/ld.so", kind=3)], 0x10_0000), "dynamically linked"),
        (elf([Segment(0x10_0000, CODE, memsz=10)], 0x10_0000), "0x40 bytes in the file but 0xa in memory"),
        (elf([Segment(0x10_0000, CODE)], 0x20_0000), "entry 0x200000 lies in none of its segments"),
        (
            elf([Segment(0x10_0000, CODE), Segment(0x10_003F, CODE)], 0x10_0000),
            "segment 1 at 0x10003f overlaps segment 0",
        ),
        (elf([Segment(0x10_0000, CODE, memsz=0xFFFF_FFFF)], 0x10_0000), "can never be in RAM, which ends"),
        (elf([Segment(0xFFFF_FFF0, CODE)], 0xFFFF_FFF0), "segment 0 at 0xfffffff0..0x10000002f can never be in RAM"),
        (elf([Segment(0x80_0000, CODE)], 0x80_0000), "outside RAM (8 MiB); give -m 9M or more"),
        (elf([Segment(0x9_FFF0, CODE)], 0x9_FFF0), "no RAM there"),
    ],
)
def test_damaged_elf(image: bytes, complaint: str) -> None:
    ram = Ram()
    with pytest.raises(BadImage) as caught:
        load(image, ram, name="kernel.elf")
    message = str(caught.value)
    assert complaint in message
    assert message.startswith("kernel.elf: ")
    assert "\n" not in message
    assert not ram.written


@pytest.mark.parametrize("address", [8 << 20, (1 << 32) - 1, 0xB_8000, 0x9_FFFF])
def test_flat_address_without_ram(address: int) -> None:
    ram = Ram()
    with pytest.raises(BadImage, match="raw image at"):
        load(CODE, ram, flat=address)
    assert not ram.written


@pytest.mark.parametrize("address", [-1, -(1 << 40), 1 << 32])
def test_flat_addresses_have_32_bits(address: int) -> None:
    ram = Ram()
    with pytest.raises(BadUsage, match=f"flat={address}: a physical address of 32 bits is wanted"):
        load(CODE, ram, flat=address)
    assert not ram.written


def test_ram_without_room_for_the_tables() -> None:
    with pytest.raises(BadImage, match=r"GDT at 0x11000.*outside RAM"):
        load(bytes(0x1_0000), Ram(0x1_0000), flat=0)


def test_empty_raw_image() -> None:
    with pytest.raises(BadImage, match="the file is empty"):
        load(b"", Ram(), flat=0x10_0000)


def test_options_that_would_be_lost_are_refused() -> None:
    with pytest.raises(BadUsage, match="cannot take -append, -initrd"):
        load(GOOD, Ram(), append="quiet", initrd=b"x")
    with pytest.raises(BadUsage, match="a raw image cannot take -append"):
        load(GOOD, Ram(), append="quiet", flat=0x10_0000)
