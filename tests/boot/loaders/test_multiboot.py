"""Multiboot 1: both image kinds, the information structure, modules, and damage."""

import struct
from pathlib import Path

import pytest

from bt.boot.detect import load
from bt.boot.loaders.information import Module
from bt.errors import BadImage
from tests.boot.images import Ram, Segment, elf, multiboot_elf, multiboot_header, multiboot_raw

LOAD = 0x10_0000


def test_elf_entry() -> None:
    ram = Ram(fill=0xAA)
    state = load(multiboot_elf(b"\xfa\xf4", bss=0x1000), ram)
    assert (state.entry_kind, state.eip) == ("multiboot", LOAD + 12)
    assert state.gpr["eax"] == 0x2BADB002
    assert state.gpr["ebx"] == 0x9000
    assert state.segments["cs"].selector == 0x08
    assert state.segments["ss"].selector == 0x10
    assert ram.read(LOAD + 12, 0x1003) == b"\xfa\xf4" + bytes(0x1000) + b"\xaa"


@pytest.mark.parametrize("before", [b"", bytes(0x100), b"\x7fELF" + bytes(60), bytes(8192 - 32)])
def test_address_fields(before: bytes) -> None:
    """They rule even if the file looks like an ELF."""
    ram = Ram(fill=0xAA)
    state = load(multiboot_raw(b"\xfa\xf4", before=before), ram)
    header = LOAD + len(before)
    assert state.eip == header + 32
    assert ram.read(LOAD, len(before)) == before
    assert ram.read(header + 32, 0x103) == b"\xfa\xf4" + bytes(0x100) + b"\xaa"


def test_zero_load_end_and_bss_end_mean_the_whole_file_and_no_bss() -> None:
    ram = Ram(fill=0xAA)
    load(multiboot_header(0x1_0000, (LOAD, LOAD, 0, 0, LOAD + 32)) + b"code to the end", ram)
    assert ram.read(LOAD + 32, 16) == b"code to the end\xaa"


def test_bytes_before_load_addr_are_skipped() -> None:
    image = bytes(64) + multiboot_header(0x1_0000, (LOAD, LOAD, 0, 0, LOAD + 32)) + b"\xf4"
    ram = Ram()
    load(image, ram)
    assert ram.u32(LOAD) == 0x1BADB002


def test_information_structure() -> None:
    ram = Ram(16 << 20)
    modules = [Module(b"first module", b"one a=1"), Module(b"", b""), Module(b"x" * 5000, b"three")]
    state = load(multiboot_elf(), ram, append="root=/dev/x", modules=modules, name="kernel.elf")
    info = state.gpr["ebx"]
    flags, lower, upper = struct.unpack("<III", ram.read(info, 12))
    assert flags == 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
    assert (lower, upper) == (639, 15 * 1024)
    assert ram.string(ram.u32(info + 16)) == b"kernel.elf root=/dev/x"
    assert ram.string(ram.u32(info + 64)) == b"bt"

    assert ram.u32(info + 20) == 3
    listed = [struct.unpack("<IIII", ram.read(ram.u32(info + 24) + 16 * i, 16)) for i in range(3)]
    assert [ram.string(line) for _, _, line, _ in listed] == [b"one a=1", b"", b"three"]
    assert [ram.read(start, end - start) for start, end, _, _ in listed] == [module.data for module in modules]
    assert all(start % 4096 == 0 and reserved == 0 for start, _, _, reserved in listed)
    assert listed[0][0] >= LOAD + 0x100  # clear of the bss

    mmap, end = ram.u32(info + 48), ram.u32(info + 48) + ram.u32(info + 44)
    ranges = []
    while mmap < end:
        size, base, length, kind = struct.unpack("<IQQI", ram.read(mmap, 24))
        ranges.append((base, length, kind))
        mmap += size + 4
    assert mmap == end
    assert ranges == [(0, 0x9_FC00, 1), (0x9_FC00, 0x400, 2), (0xF_0000, 0x1_0000, 2), (0x10_0000, 15 << 20, 1)]


def test_command_line_without_append_is_the_base_name(tmp_path: Path) -> None:
    path = tmp_path / "my kernel"
    path.write_bytes(multiboot_elf())
    ram = Ram()
    state = load(path, ram)
    assert ram.string(ram.u32(state.gpr["ebx"] + 16)) == b"my kernel"


def test_modules_from_an_initrd_list(tmp_path: Path) -> None:
    (tmp_path / "a,b").write_bytes(b"AAAA")
    (tmp_path / "c").write_bytes(b"CC")
    ram = Ram()
    state = load(multiboot_elf(), ram, initrd=f"{tmp_path}/a,,b x=1 y,{tmp_path}/c")
    table = ram.u32(state.gpr["ebx"] + 24)
    entries = [struct.unpack("<IIII", ram.read(table + 16 * i, 16)) for i in range(ram.u32(state.gpr["ebx"] + 20))]
    assert [(ram.read(start, end - start), ram.string(line)) for start, end, line, _ in entries] == [
        (b"AAAA", b"a,b x=1 y"),
        (b"CC", b"c"),
    ]


def test_a_path_object_is_one_module(tmp_path: Path) -> None:
    path = tmp_path / "a b,c"
    path.write_bytes(b"AAAA")
    ram = Ram()
    state = load(multiboot_elf(), ram, initrd=path)
    info = state.gpr["ebx"]
    assert ram.u32(info + 20) == 1
    assert ram.string(ram.u32(ram.u32(info + 24) + 8)) == b"a b,c"


def test_information_keeps_clear_of_a_low_image() -> None:
    ram = Ram()
    image = multiboot_elf(bytes(0x4000), load=0x8800)
    state = load(image, ram)
    assert state.gpr["ebx"] >= 0x8800 + 0x4000 + 12 + 4096
    assert ram.u32(0x8800) == 0x1BADB002


def test_long_command_line() -> None:
    ram = Ram()
    state = load(multiboot_elf(), ram, append="x" * 100_000)
    assert len(ram.string(ram.u32(state.gpr["ebx"] + 16))) == len("image ") + 100_000
    assert ram.read(state.gdt_base, 8) == bytes(8)


def test_header_search_wants_alignment_and_the_first_8_kib() -> None:
    for offset in (2, 8192 - 8, 8192):
        with pytest.raises(BadImage, match="nor multiboot nor ELF"):
            load(bytes(offset) + multiboot_header(0) + bytes(64), Ram())


def test_second_header_counts_if_the_first_is_damaged() -> None:
    decoy = multiboot_header(checksum_error=1)
    before = decoy + bytes(20)
    assert load(multiboot_raw(before=before), Ram()).eip == LOAD + 32 + 32


def _raw(header: int = LOAD, load_: int = LOAD, load_end: int = 0, bss_end: int = 0, entry: int = LOAD + 32) -> bytes:
    return multiboot_header(0x1_0000, (header, load_, load_end, bss_end, entry)) + bytes(64)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (multiboot_header(checksum_error=1) + bytes(64), "magic + flags + checksum is 0x1, not 0"),
        (multiboot_header(0x9) + bytes(64), "demands unknown features (flags 0x8)"),
        (multiboot_header(0) + bytes(64), "without address fields, and not an ELF"),
        (multiboot_header(0x1_0000) + bytes(8), "cut off before its address fields"),
        (_raw(header=LOAD - 4), "do not agree"),
        (_raw(header=LOAD + 4), "do not agree"),
        (_raw(load_end=LOAD + 97), "load_end_addr needs 0x61 bytes of file, it has 0x60"),
        (_raw(load_end=LOAD - 1), "do not ascend"),
        (_raw(bss_end=LOAD + 1), "do not ascend"),
        (_raw(entry=LOAD - 1), "entry_addr 0xfffff lies outside the image"),
        (_raw(entry=LOAD + 96), "lies outside the image"),
        (_raw(bss_end=0xFFFF_FFFF), "can never be in RAM"),
        (elf([Segment(LOAD, multiboot_header(0))], LOAD + 64), "lies in none of its segments"),
    ],
)
def test_damage(image: bytes, complaint: str) -> None:
    ram = Ram()
    with pytest.raises(BadImage) as caught:
        load(image, ram)
    assert complaint in str(caught.value)
    assert not ram.written


def test_modules_that_do_not_fit() -> None:
    with pytest.raises(BadImage, match=r"module 0 at 0x101000.* outside RAM"):
        load(multiboot_elf(), Ram(2 << 20), modules=[Module(bytes(1 << 20))])
