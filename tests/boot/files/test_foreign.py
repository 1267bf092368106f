"""Damaged and foreign images: one line that names what they are, with nothing in it that cannot help, and no more."""

from __future__ import annotations

import gzip
import random
import re
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt.boot.detect import load
from bt.boot.files import formats
from bt.boot.files.foreign import glance_at, refuse_known
from bt.boot.loaders.information import Module
from bt.errors import BadImage, BadUsage
from bt.machine import Machine, MachineConfig
from tests.boot.files.foreign_images import (
    FOREIGN,
    LOAD,
    MEMORY_MIB,
    PARTITION,
    SIGNATURE,
    Foreign,
    at,
    boot_disk,
    foreign_elf,
    multiboot_2_header,
    newc,
    note,
    noted_elf,
    raw_multiboot,
    tar,
)
from tests.boot.images import BoundlessRam, Ram, Segment, bzimage, elf, multiboot_elf, multiboot_header
from tests.boot.test_detect import mutated

MEMORY = MEMORY_MIB << 20


def one_line(image: Foreign, message: str) -> None:
    assert message.startswith("image.bin: ")
    assert message.isprintable(), "one line"
    assert [words for words in image.said.split("|") if words not in message] == [], message
    assert [words for words in image.never if words in message] == [], message
    assert "Traceback" not in message


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    made = Machine(MachineConfig(memory=MEMORY, engine="interp"))
    yield made
    made.close()


def test_there_are_many() -> None:
    assert len({image.name for image in FOREIGN}) == len(FOREIGN) >= 90


@pytest.mark.parametrize("image", FOREIGN, ids=[image.name for image in FOREIGN])
def test_one_line_and_nothing_changed(image: Foreign, machine: Machine) -> None:
    before = bytes(machine.cpu.state.view), machine.ram.read(0, MEMORY)
    with pytest.raises((BadImage, BadUsage)) as caught:
        machine.load(image.make(), name="image.bin")
    one_line(image, str(caught.value))
    assert (bytes(machine.cpu.state.view), machine.ram.read(0, MEMORY)) == before


@pytest.mark.parametrize("each", [*formats.DISKS, *formats.FILES], ids=lambda each: str(each.marks[0]))
def test_every_line_of_the_table_is_reached(each: formats.Format) -> None:
    """None is hidden by one before it; each mark is among the bytes that are looked at."""
    with pytest.raises(BadImage) as caught:
        refuse_known("x", glance_at(at(*each.marks, fill=0x5A)))
    assert str(caught.value) == f"x: {each.what}{f'; {each.advice}' if each.advice else ', not a guest'}"


def test_disks_are_known_by_more_than_a_boot_sector() -> None:
    for each in formats.DISKS:
        assert any(offset < 0 or offset >= 512 or len(mark) >= 8 for offset, mark in each.marks), each


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (multiboot_elf(), "multiboot"),
        (elf([Segment(LOAD, b"\xf4")], LOAD), "flat"),
        (bzimage(), "linux"),
        (b"\xf4".ljust(510, b"\0") + b"\x55\xaa", "boot sector"),
    ],
)
def test_gzip_is_unpacked(image: bytes, kind: str, tmp_path: Path) -> None:
    packed, plain = Ram(MEMORY), Ram(MEMORY)
    path = tmp_path / "kernel"
    path.write_bytes(gzip.compress(image))
    entry = load(path, packed)
    assert entry == load(image, plain, name="kernel")
    assert entry.entry_kind == kind
    assert packed.bytes == plain.bytes


@pytest.mark.parametrize("behind", [b"", bytes(1), bytes(5000)], ids=["nothing", "a zero", "zeroes"])
@pytest.mark.parametrize("size", [1, 13, 500, 4096], ids=str)
def test_gzip_members_are_one_file(size: int, behind: bytes) -> None:
    kernel = multiboot_elf(bytes(range(256)) * 8)
    parts = [kernel[start : start + size] for start in range(0, len(kernel), size)]
    packed, plain = Ram(MEMORY), Ram(MEMORY)
    load(b"".join(gzip.compress(part) for part in parts) + behind, packed)
    load(kernel, plain)
    assert packed.bytes == plain.bytes


def test_gzip_that_fills_memory_exactly_is_unpacked() -> None:
    kernel = multiboot_elf()
    image = kernel + random.Random(1).randbytes(MEMORY - len(kernel))
    assert load(gzip.compress(image, 1), Ram(MEMORY)).entry_kind == "multiboot"
    with pytest.raises(BadImage, match="give -m 9M or more"):
        load(gzip.compress(image + b"x", 1), Ram(MEMORY))


def test_a_bomb_takes_no_more_than_memory() -> None:
    bomb = gzip.compress(bytes(64 << 20)) * 16
    tracemalloc.start()
    with pytest.raises(BadImage, match="unpacks to more than 2 MiB"):
        load(b"\x1f\x8b" + bomb[2:], Ram(2 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 << 20


def test_many_empty_members_take_no_time() -> None:
    """Each must cost what it is long, not what is behind it."""
    members, start = 100_000, time.process_time()
    with pytest.raises(BadImage, match="the file is empty"):
        load(gzip.compress(b"") * members, Ram(MEMORY))
    assert (time.process_time() - start) / members < 20e-6


def test_raw_images_modules_and_initrds_stay_as_they_are() -> None:
    packed = gzip.compress(newc())
    ram = Ram(MEMORY)
    load(packed, ram, flat=LOAD)
    assert ram.read(LOAD, len(packed)) == packed
    load(gzip.compress(multiboot_elf()), ram, modules=[Module(packed)])
    assert ram.read(0x10_1000, len(packed)) == packed
    load(gzip.compress(bzimage()), ram, initrd=packed)
    assert ram.read(ram.u32(0x1_0218), ram.u32(0x1_021C)) == packed


@pytest.mark.parametrize(
    "image",
    [
        multiboot_elf(multiboot_2_header() + b"\xf4"),
        elf([Segment(LOAD, multiboot_header(3)), Segment(0, note(b"Xen\0", 18), memsz=0, kind=4)], LOAD),
    ],
    ids=["multiboot 2, too", "PVH, too"],
)
def test_multiboot_1_wins(image: bytes) -> None:
    assert load(image, Ram(MEMORY)).entry_kind == "multiboot"


def test_multiboot_2_comes_before_pvh_and_both_before_the_elf_header() -> None:
    pvh = note(b"Xen\0", 18, LOAD.to_bytes(4, "little"))
    assert load(noted_elf(pvh, bytes(4), multiboot_2_header()), Ram(MEMORY)).entry_kind == "multiboot 2"
    assert load(noted_elf(pvh), Ram(MEMORY)).entry_kind == "PVH"


@pytest.mark.parametrize(
    "notes",
    [
        note(b"GNU\0", 3),  # a build identification
        note(b"Xen\0", 17),
        note(b"GNU\0", 18),
        b"\xff" * 40,  # longer than the file
        b"\0" * 11,
        bytes(4000),
        note(b"Xen\0", 18)[:11],
    ],
)
def test_other_notes_are_no_hindrance(notes: bytes) -> None:
    assert load(noted_elf(notes), Ram(MEMORY)).entry_kind == "flat"


def test_what_only_looks_like_multiboot_2_is_started() -> None:
    """A boot loader compares with the magic number: that is code, not a header."""
    for code in (b"\x90" * 8 + b"\xd6\x50\x52\xe8" + b"\x75" * 20, b"\x90" * 4 + multiboot_2_header()):
        assert load(elf([Segment(LOAD, code)], LOAD), Ram(MEMORY)).entry_kind == "flat"


def test_a_boot_sector_may_look_like_anything() -> None:
    for beginning in (b"MZ", b"BC\xc0\xde", b"\x4c\1\1\0", b"#!", b"\xeb\x3c\x90MSDOS5.0"):
        image = at((0, beginning), SIGNATURE, PARTITION, (0x36, b"FAT12   "), size=1536)
        assert load(image, Ram(MEMORY)).entry_kind == "boot sector"


@pytest.mark.parametrize("size", [20 << 20, 5 << 30, 300 << 30], ids=["20 MiB", "5 GiB", "300 GiB"])
@pytest.mark.parametrize("initrd", [None, "initrd"])
def test_large_disks_are_named_without_being_read(tmp_path: Path, size: int, initrd: str | None) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.write(boot_disk((0x8001, b"CD001"), size=0x9000))
        file.truncate(size)
    tracemalloc.start()
    with pytest.raises(BadImage, match=r"disk: an ISO 9660 image .*; give it with -cdrom"):
        load(path, Ram(MEMORY), initrd=initrd)
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()


def test_large_kernels_are_read(tmp_path: Path) -> None:
    for number, image in enumerate((multiboot_elf(), bzimage(), gzip.compress(bzimage()))):
        path = tmp_path / str(number)
        path.write_bytes(image + bytes(17 << 20))
        assert load(path, Ram(32 << 20)).entry_kind in ("multiboot", "linux")
    raw = tmp_path / "raw"
    raw.write_bytes(multiboot_header(0x1_0000, (LOAD, LOAD, 0, 0, LOAD + 32)) + bytes(17 << 20))
    assert load(raw, Ram(32 << 20)).entry_kind == "multiboot"


def test_a_name_of_two_lines_is_cited_in_one() -> None:
    with pytest.raises(BadImage) as caught:
        load(b"", Ram(MEMORY), name="a\nb\x1b[2J\xe4")
    assert str(caught.value) == "a\\nb\\x1b[2J\xe4: the file is empty"


def refusal(image: bytes, ram: Ram | BoundlessRam, **options: object) -> str | None:
    """What is said against an image, nothing if it is loaded."""
    try:
        load(image, ram, **options)  # type: ignore[arg-type]  # the options differ in type
    except (BadImage, BadUsage) as error:
        message = str(error)
    else:
        return None
    assert message.isprintable(), "one line"
    assert not ram.written
    return message


@settings(max_examples=300)
@given(image=mutated(), small=st.sampled_from([2, 3, 4, 8]), modules=st.integers(0, 3), initrd=st.booleans())
def test_memory_that_is_advised_is_enough(image: bytes, small: int, modules: int, initrd: bool) -> None:
    """The advice is taken: with that much memory the same image is loaded, and with a MiB less it is not."""
    options: dict[str, object] = {"modules": [Module(bytes(700_000))] * modules} if modules else {}
    if initrd:
        options["initrd"] = bytes(2_345_678)
    message = refusal(image, BoundlessRam(small << 20), **options)
    if message is not None and " -m" in message:
        advice = re.search(r"give -m (\d+)M or more$", message)
        assert advice is not None
        enough = int(advice[1])
        assert small < enough <= 3 << 10
        assert refusal(image, BoundlessRam(enough << 20), **options) is None
        assert refusal(image, BoundlessRam((enough - 1) << 20), **options) is not None


@pytest.mark.parametrize(
    ("limit", "size", "said"),
    [
        (0x12_2C00, 0x2400, "an initrd of 0.0 MiB does not fit; this kernel has room for one from 1.1 to 1.1 MiB"),
        (0x8000_0000, 0xD_F800, "and an initrd of 0.9 MiB above that, there are 2; give -m 3M or more"),
        (0x8000_0000, 0xD_F000, None),
    ],
)
def test_an_initrd_begins_on_a_page_behind_the_kernel(limit: int, size: int, said: str | None) -> None:
    """The kernel ends inside a page, and what is left of that is no room."""
    image = bzimage(init_size=0x2_0401, initrd_addr_max=limit - 1)
    ram = Ram(2 << 20)
    message = refusal(image, ram, initrd=b"i" * size)
    if said is None:
        assert message is None
        assert ram.u32(0x1_0218) == 0x12_1000
    else:
        assert said in (message or "")


def test_modules_behind_an_image_at_the_end_of_the_address_space() -> None:
    message = refusal(raw_multiboot(bss_end=0xFFFF_FFFF), Ram(MEMORY), modules=[Module(b"module")])
    assert message == "image: image at 0x100000..0xfffffffe can never be in RAM, which ends at 0xdfffffff at most"


@pytest.mark.parametrize("bss_end", [0x7F_F000, 0x80_0000])
def test_tables_behind_an_image_that_fills_memory(bss_end: int) -> None:
    """It leaves no conventional memory for them; they want to be in what is advised, too."""
    image = elf([Segment(0, b"\xf4", memsz=0xA_0000), Segment(LOAD, b"", memsz=bss_end - LOAD)], 0)
    place = f"GDT at {bss_end + 0x1000:#x}..{bss_end + 0x1017:#x}"
    assert refusal(image, Ram(MEMORY)) == f"image: {place} lies outside RAM (8 MiB); give -m 9M or more"
    assert load(image, Ram(9 << 20)).gdt_base == bss_end + 0x1000


@settings(max_examples=200)
@given(data=st.data())
def test_mutated_gzip(data: st.DataObject) -> None:
    image = bytearray(gzip.compress(multiboot_elf(bytes(range(64))), mtime=0) * data.draw(st.integers(1, 3)))
    mutate(data, image, 2, len(image), 3)
    refusal(bytes(image[: data.draw(st.integers(2, len(image)))]), Ram(2 << 20))


@settings(max_examples=200)
@given(data=st.data())
def test_mutated_foreign_images(data: st.DataObject) -> None:
    kinds = [foreign_elf(62), foreign_elf(3, bits=32), noted_elf(note(b"Xen\0", 18)), tar(), boot_disk(size=2048)]
    image = bytearray(data.draw(st.sampled_from(kinds)))
    mutate(data, image, 0, min(len(image), 512), 6)
    refusal(bytes(image[: data.draw(st.one_of(st.just(len(image)), st.integers(0, len(image))))]), Ram(2 << 20))


def mutate(data: st.DataObject, image: bytearray, start: int, stop: int, most: int) -> None:
    places = st.tuples(st.integers(start, stop - 1), st.integers(0, 255))
    for offset, value in data.draw(st.lists(places, max_size=most)):
        image[offset] = value
