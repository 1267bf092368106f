"""Which loader an image gets, files that cannot be read, and images mutated at random."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bt.boot.detect import load
from bt.boot.loaders.information import Module
from bt.errors import BadImage, BadUsage
from tests.boot.images import Ram, Segment, bzimage, elf, multiboot_elf, multiboot_header, multiboot_raw


def test_order() -> None:
    plain = elf([Segment(0x10_0000, b"\xf4")], 0x10_0000)
    # a kernel may well be several things at once: bzImage goes before multiboot, multiboot before ELF
    both = bytearray(bzimage())
    both[0:12] = multiboot_header(0)
    assert load(bytes(both), Ram()).entry_kind == "linux"
    assert load(multiboot_elf(), Ram()).entry_kind == "multiboot"
    assert load(plain, Ram()).entry_kind == "flat"
    raw = load(multiboot_elf(), Ram(), flat=0x20_0000)
    assert (raw.entry_kind, raw.eip) == ("flat", 0x20_0000)


def test_unknown_image_says_what_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "kernel.bin"
    path.write_bytes(b"\xeb\xfe" * 1000)
    with pytest.raises(BadImage) as caught:
        load(path, Ram())
    assert str(caught.value) == (
        'kernel.bin: not a bzImage (no "HdrS" at 0x202) nor multiboot nor ELF nor boot sector; '
        "for a raw image give --flat ADDRESS"
    )


@pytest.mark.parametrize("image", [b"", b"H", b"\x7fELF", bytes(12), bytes(0x206)])
def test_tiny_images(image: bytes) -> None:
    with pytest.raises(BadImage):
        load(image, Ram())


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="nothing: No such file or directory"):
        load(tmp_path / "nothing", Ram())
    with pytest.raises(BadImage, match="not a regular file"):
        load(tmp_path, Ram())
    with pytest.raises(BadImage, match="not a regular file"):
        load("", Ram())
    with pytest.raises(BadImage, match="null"):
        load("a\0b", Ram())
    with pytest.raises(BadImage, match="File name too long"):
        load("x" * 5000, Ram())
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate((1 << 32) + 1)
    with pytest.raises(BadImage, match="more than 32 bits can address"):
        load(huge, Ram())


VALID = {
    "elf": elf([Segment(0x10_0000, bytes(64), memsz=0x1000), Segment(0x20_0000, bytes(32))], 0x10_0000),
    "multiboot elf": multiboot_elf(bytes(64)),
    "multiboot raw": multiboot_raw(bytes(64), before=bytes(32)),
    "bzimage": bzimage(),
    "old bzimage": bzimage(version=0x0204, header_end=0x230),
}
# where headers have their fields, so that most mutations hit one
FIELDS = {
    "elf": st.integers(0, 52 + 64),
    "multiboot elf": st.integers(0, 52 + 32 + 12 + 16),
    "multiboot raw": st.integers(32, 64),
    "bzimage": st.integers(0x1F0, 0x270),
    "old bzimage": st.integers(0x1F0, 0x270),
}
BELOW_4_MIB = [0, 1, 2, 3, 0x20, 0x7F, 0xFFF, 0x1000, 0x9_FFFF, 0xA_0000, 0x10_0000, 0x10_0020, 0x20_0000, 0x3F_F000]
BEYOND = [0x40_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_F000, 0xFFFF_FFFF]
INTERESTING = st.sampled_from([*BELOW_4_MIB, *BEYOND])
WORDS = st.one_of(INTERESTING, st.integers(0, 0xFFFF_FFFF))
OPTIONS = st.sampled_from(["none", "append", "initrd", "modules"])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(sorted(VALID)))
    image = bytearray(VALID[name])
    for offset, width, value in draw(
        st.lists(st.tuples(FIELDS[name], st.sampled_from([1, 2, 4]), WORDS), min_size=0, max_size=4)
    ):
        image[offset : offset + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    if draw(st.booleans()) and name.startswith("multiboot"):  # most header mutations die of the checksum: mend it
        at = bytes(image).find(struct.pack("<I", 0x1BADB002))
        if at >= 0:
            flags = int.from_bytes(image[at + 4 : at + 8], "little")
            image[at : at + 12] = multiboot_header(flags)
    return bytes(image[: draw(st.one_of(st.just(len(image)), st.integers(0, len(image))))])


@settings(max_examples=400)
@given(image=mutated(), options=OPTIONS)
def test_mutated_images_are_loaded_or_refused(image: bytes, options: str) -> None:
    ram = Ram(4 << 20)
    try:
        if options == "initrd":
            state = load(image, ram, initrd=bytes(5000))
        elif options == "modules":
            state = load(image, ram, modules=[Module(bytes(5000), b"m")])
        else:
            state = load(image, ram, append="quiet" if options == "append" else "", name="mutant")
    except BadImage as refusal:
        message = str(refusal)
        assert message
        assert "\n" not in message
        assert not ram.written
    except BadUsage:
        # options that an image of this kind cannot take
        assert options != "none"
        assert not ram.written
    else:
        assert 0 <= state.eip < ram.size
        assert all(0 <= value <= 0xFFFF_FFFF for value in state.gpr.values())
        assert state.gdt_base + state.gdt_limit < ram.size


@settings(max_examples=100)
@given(image=st.binary(max_size=600), address=st.integers(0, (1 << 32) - 1))
def test_any_bytes_at_any_address(image: bytes, address: int) -> None:
    ram = Ram(4 << 20)
    try:
        load(image, ram, flat=address)
    except BadImage:
        assert not ram.written
    else:
        assert ram.read(address, len(image)) == image
