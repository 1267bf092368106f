"""Multiboot 2: both image kinds, tags, relocation, damage; and the information that GRUB's loader gives as judge."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import guest_images
from bt.boot.detect import load
from bt.errors import BadImage
from bt.machine import Machine, MachineConfig
from tests.boot.images import Ram, Segment, elf

LOAD = 0x10_0000
MAGIC = 0xE85250D6


def tag(kind: int, *words: int, flags: int = 0) -> bytes:
    """A header tag of 32-bit words, padded to where the next one begins."""
    contents = struct.pack(f"<{len(words)}I", *words)
    return (struct.pack("<HHI", kind, flags, 8 + len(contents)) + contents).ljust(
        8 + (len(contents) + 7) // 8 * 8, b"\0"
    )


def header(*tags: bytes) -> bytes:
    area = b"".join(tags) + tag(0)
    length = 16 + len(area)
    return struct.pack("<IIII", MAGIC, 0, length, -(MAGIC + length) & 0xFFFF_FFFF) + area


def kernel(*tags: bytes, load_at: int = LOAD, code: bytes = b"\xfa\xf4") -> bytes:
    data = header(*tags) + code
    return elf([Segment(load_at, data)], load_at + len(data) - len(code))


def tags_at(ram: Ram, info: int) -> dict[int, bytes]:
    """Information tags by type (the last of each), without type and size."""
    size = ram.u32(info)
    area, found, at = ram.read(info, size), {}, 8
    while True:
        kind, length = struct.unpack_from("<II", area, at)
        found[kind] = area[at + 8 : at + length]
        at += (length + 7) // 8 * 8
        if kind == 0:
            assert at == size
            return found


def test_entry() -> None:
    ram = Ram(fill=0xAA)
    state = load(kernel(), ram, append="a b")
    assert (state.entry_kind, state.eip) == ("multiboot 2", LOAD + 24)
    assert state.gpr["eax"] == 0x36D76289
    assert state.gpr["ebx"] % 8 == 0
    told = tags_at(ram, state.gpr["ebx"])
    assert told[1] == b"a b\0"
    assert told[2] == b"bt\0"
    assert struct.unpack("<II", told[4]) == (639, 7 * 1024)
    assert 21 not in told


def test_address_and_entry_tags() -> None:
    """They rule even if the file looks like an ELF; an address of all ones is that of the file's first byte."""
    before, code = b"\x7fELF" + bytes(60), b"\xfa\xf4"
    size = len(header(tag(2, 0, 0, 0, 0), tag(3, 0)))
    at = LOAD + len(before)
    for load_from in (LOAD, 0xFFFF_FFFF):
        head = header(tag(2, at, load_from, 0, at + size + 0x102), tag(3, at + size))
        ram = Ram(fill=0xAA)
        state = load(before + head + code, ram)
        assert state.eip == at + size
        assert ram.read(LOAD, len(before)) == before
        assert ram.read(at + size, 0x103) == code + bytes(0x100) + b"\xaa"
        assert 9 not in tags_at(ram, state.gpr["ebx"])


def test_an_elf_may_have_another_entry_for_us() -> None:
    assert load(kernel(tag(3, LOAD + 5)), Ram()).eip == LOAD + 5


@pytest.mark.parametrize(
    ("relocatable", "base"),
    [
        ((LOAD, 0xFFFF_FFFF, 4096, 0), LOAD),
        ((LOAD, 0xFFFF_FFFF, 4096, 1), LOAD),
        ((0x20_0000, 0xFFFF_FFFF, 4096, 1), 0x20_0000),
        ((0x20_0001, 0xFFFF_FFFF, 0x10000, 0), 0x21_0000),
        ((0, 0xFFFF_FFFF, 0x10_0000, 2), 0x70_0000),
        ((0, 0x2F_FFFF, 4096, 2), 0x2F_F000),
    ],
)
def test_relocatable(relocatable: tuple[int, ...], base: int) -> None:
    """8 MiB of RAM. If the header allows it the image stays where it was linked for, unless it prefers the highest."""
    ram = Ram()
    image = kernel(tag(10, *relocatable))
    state = load(image, ram)
    assert state.eip == base + len(header(tag(10, 0, 0, 0, 0)))
    assert ram.read(state.eip, 2) == b"\xfa\xf4"
    assert tags_at(ram, state.gpr["ebx"])[21] == struct.pack("<I", base)


def test_symbols_come_along() -> None:
    """The section headers are those of the file, but for where the sections that nothing loads now are."""
    image = guest_images.image("multiboot2-info").read()
    ram = Ram()
    state = load(image, ram)
    count, size, names = struct.unpack_from("<III", told := tags_at(ram, state.gpr["ebx"])[9])
    assert (count, size, names) == (5, 40, 4)
    for number in range(1, count):
        _, kind, _, address, offset, length, *_ = struct.unpack_from("<10I", told, 12 + size * number)
        assert ram.read(address, length) == image[offset : offset + length], number
        assert (address == LOAD) is (kind == 1)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (kernel(tag(1, 1, 8, 22)), "demands information of unknown type 22"),
        (kernel(tag(11, 1)), "demands an unknown feature (tag of type 11)"),
        (kernel(tag(3)), "tag of type 3 has 0 bytes instead of 4"),
        (kernel(tag(10, LOAD, 0, 1, 0)), "it cannot be placed at"),
        (kernel(tag(10, LOAD, LOAD, 1, 0)), "have no place between 0x100000 and 0x100000"),
        (kernel(struct.pack("<HHI", 1, 1, 7) + b"\0"), "tag of type 1 has 7 bytes"),
        (kernel(struct.pack("<HHI", 1, 1, 999)), "tag of type 1 has 999 bytes"),
        (header() + b"\xf4", "without address tag, and not an ELF"),
        (header(tag(2, LOAD, LOAD, 0, 0)) + b"\xf4", "an address tag but no entry address tag"),
        (header(tag(2, LOAD + 8, LOAD, 0, 0), tag(3, LOAD)) + b"\xf4", "do not agree"),
        (header()[:-8] + b"\xff" * 8, "tag of type 65535 has 4294967295 bytes"),
        (header()[:-4], "are more than the file has"),
    ],
)
def test_damage_and_demands(image: bytes, says: str) -> None:
    ram = Ram()
    with pytest.raises(BadImage) as caught:
        load(image, ram, name="kernel")
    assert says in str(caught.value)
    assert str(caught.value).startswith("kernel: ")
    assert not ram.written


def test_what_is_optional_is_no_hindrance() -> None:
    tags = (
        tag(1, 99, flags=1),
        tag(77, 1, flags=1),
        tag(5, 1024, 768, 32),
        tag(4, 3),
        tag(6),
        tag(7),
        tag(8, 5),
        tag(9, 5),
    )
    assert load(kernel(*tags), Ram()).entry_kind == "multiboot 2"


def transcript(engine: str, *, append: str, modules: str) -> str:
    output = bytearray()
    with Machine(MachineConfig(memory=128 << 20, engine=engine), serial=output.append) as machine:  # type: ignore[arg-type]
        machine.load(guest_images.image("multiboot2-info").path, append=append, initrd=modules)
        assert machine.run(timeout=60).status == 1
    return output.decode()


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_the_guest_sees_it(engine: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(range(256)) * 17)
    lines = transcript(engine, append="x y=z", modules=f"{tmp_path}/one with words,{tmp_path}/one").splitlines()
    assert "command line x y=z" in lines
    assert "module one with words bytes 00001100 sum 00087780" in lines
    assert "module one bytes 00001100 sum 00087780" in lines
    assert lines[-1] == "whole"


TOOLS = ("grub-mkrescue", "xorriso", "qemu-system-i386")


@pytest.mark.slow
@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}")
def test_grub_tells_the_same(tmp_path: Path) -> None:
    """GRUB 2.06 on QEMU, from a CD. Its tags come in another order, and its firmware has another map."""
    disc, module = tmp_path / "disc", tmp_path / "one"
    (disc / "boot/grub").mkdir(parents=True)
    shutil.copy(guest_images.image("multiboot2-info").path, disc / "kernel")
    module.write_bytes(bytes(range(256)) * 17)
    shutil.copy(module, disc / "one")
    (disc / "boot/grub/grub.cfg").write_text("multiboot2 /kernel x y=z\nmodule2 /one one with words\nboot\n")
    command = ["grub-mkrescue", "-o", str(tmp_path / "grub.iso"), str(disc)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    arguments = "-m 128 -display none -serial stdio -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=4 -cdrom"
    done = subprocess.run(
        ["qemu-system-i386", *arguments.split(), str(tmp_path / "grub.iso")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    theirs = set(done.stdout.decode("latin-1").replace("\r", "").partition("multiboot2-info\n")[2].splitlines())
    ours = set(transcript("bt", append="x y=z", modules=f"{module} with words").splitlines())
    same = {"magic 36d76289", "command line x y=z", "memory 639 130048", "sections 5 last .shstrtab", "whole"}
    same |= {"module one with words bytes 00001100 sum 00087780", "range 0000000000000000 000000000009fc00 1"}
    assert same <= ours
    assert same - {"memory 639 130048"} <= theirs, theirs
