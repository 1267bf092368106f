"""The Linux boot protocol: header versions, zero page, initrd placement, damage, and Debian's kernel if it is there."""

import struct

import pytest

from bt.boot.detect import load
from bt.boot.loaders import linux
from bt.boot.loaders.information import Module
from bt.boot.state import SegmentSetting
from bt.errors import BadImage, BadUsage, BtError
from guest_images.third_party import locate
from tests.boot.images import Ram, bzimage

PAYLOAD = bytes(range(256)) * 8


def test_entry_state() -> None:
    ram = Ram()
    state = load(bzimage(PAYLOAD), ram)
    assert (state.entry_kind, state.eip) == ("linux", 0x10_0000)
    assert ram.read(0x10_0000, len(PAYLOAD)) == PAYLOAD
    assert state.gpr["esi"] == 0x1_0000
    assert [state.gpr[name] for name in ("eax", "ebx", "ecx", "edx", "ebp", "edi")] == [0] * 6
    assert state.eflags == 2
    assert state.cr0 == 0x11
    assert state.segments["cs"] == SegmentSetting(0x10, 0, 0xFFFF_FFFF, 0x9B, True)
    assert {state.segments[name] for name in ["ds", "es", "ss", "fs", "gs"]} == {
        SegmentSetting(0x18, 0, 0xFFFF_FFFF, 0x93, True)
    }
    assert ram.read(state.gdt_base, state.gdt_limit + 1).hex() == "0" * 32 + "ffff0000009bcf00" + "ffff00000093cf00"


def test_zero_page() -> None:
    ram = Ram(16 << 20, fill=0xAA)
    image = bzimage(PAYLOAD)
    load(image, ram, append="console=ttyS0 \xe4")
    page = ram.read(0x1_0000, 4096)
    assert page[0x1EF] == 0, "the sentinel: the kernel would take everything else for garbage"
    assert page[0x1F1:0x1FA] == image[0x1F1:0x1FA]
    assert page[0x1FA:0x1FC] == b"\xff\xff"
    assert page[0x202:0x210] == image[0x202:0x210]
    assert page[0x210] == 0xFF
    assert ram.string(int.from_bytes(page[0x228:0x22C], "little")) == "console=ttyS0 \xe4".encode()
    assert struct.unpack_from("<II", page, 0x218) == (0, 0)
    # as /sys/kernel/boot_params/data has it under QEMU and SeaBIOS, but for memory and cursor
    screen_info = bytes.fromhex("0000003c00000350000003000000190110") + bytes(0x2F)
    assert page[:0x40] == screen_info
    assert struct.unpack_from("<I", page, 0x1E0) == (15 * 1024,)
    assert page[0x26C:0x290] == bytes(0x24), "nothing beyond the setup header"
    assert page[0x1E8] == 4
    assert [struct.unpack_from("<QQI", page, 0x2D0 + 20 * i) for i in range(4)] == [
        (0, 0x9_FC00, 1),
        (0x9_FC00, 0x400, 2),
        (0xF_0000, 0x1_0000, 2),
        (0x10_0000, 15 << 20, 1),
    ]


@pytest.mark.parametrize(
    ("ram_mib", "initrd_addr_max", "start"),
    [(8, 0x7FFF_FFFF, 0x7F_E000), (8, 0x3F_FFFF, 0x3F_E000), (8, 0x3F_FFFE, 0x3F_D000)],
)
def test_initrd_goes_as_high_as_allowed(ram_mib: int, initrd_addr_max: int, start: int) -> None:
    ram = Ram(ram_mib << 20)
    initrd = b"0123456789abcdef" * 512
    load(bzimage(PAYLOAD, initrd_addr_max=initrd_addr_max), ram, initrd=initrd)
    assert (ram.u32(0x1_0218), ram.u32(0x1_021C)) == (start, len(initrd))
    assert ram.read(start, len(initrd)) == initrd


@pytest.mark.parametrize("version", [0x0202, 0x0203, 0x0204, 0x0205, 0x0206, 0x0209, 0x020A, 0x020C, 0x020F])
def test_versions(version: int) -> None:
    header_end = max(end for since, end in linux._HEADER_END.items() if since <= version)
    # the fields that a version does not have are code there, so they hold anything
    newer_fields_are_garbage = dict.fromkeys(("alignment", "pref_address", "init_size"), 0xDEAD_BEEF)
    if version >= 0x020A:
        newer_fields_are_garbage.clear()
    image = bzimage(PAYLOAD, version=version, header_end=header_end, **newer_fields_are_garbage)
    assert load(image, Ram()).eip == 0x10_0000
    with pytest.raises(BadImage, match="setup header ends at"):
        load(bzimage(PAYLOAD, version=version, header_end=header_end - 1), Ram())


def test_setup_sects_zero_means_four() -> None:
    image = bytearray(bzimage(PAYLOAD, setup_sects=4))
    image[0x1F1] = 0
    ram = Ram()
    load(bytes(image), ram)
    assert ram.read(0x10_0000, len(PAYLOAD)) == PAYLOAD


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (bzimage()[:600], "cut off in its setup header"),
        (bzimage()[:1536], "ends before its protected-mode code"),
        (bzimage(PAYLOAD)[:-16], "the file has 0x7f0: is it cut off?"),
        (bzimage(PAYLOAD, syssize=0xFFFF_FFFF), "the file has 0x800"),
        (bzimage().replace(b"\x55\xaa", b"\x55\xab", 1), "boot flag 0xab55"),
        (bzimage(version=0x0201), "protocol 2.01"),
        (bzimage(version=0x0300), "protocol 3.00"),
        (bzimage(header_end=0x291), "setup header ends at 0x291"),
        (bzimage(loadflags=0), "a zImage"),
        (bzimage(code32_start=0x1000), "below 1 MiB"),
        (bzimage(code32_start=0xFFFF_FF00), "MiB of RAM to unpack itself"),
        (bzimage(alignment=0), "kernel_alignment 0x0"),
        (bzimage(alignment=0x3000), "not a power of two"),
        (bzimage(alignment=1 << 31), "needs 2048.1 MiB of RAM"),
        (bzimage(init_size=8 << 20), "needs 9.0 MiB of RAM to unpack itself, there are 8; give -m 9M or more"),
        (bzimage(pref_address=1 << 63), "MiB of RAM to unpack itself"),
    ],
)
def test_damage(image: bytes, complaint: str) -> None:
    ram = Ram()
    with pytest.raises(BadImage) as caught:
        load(image, ram, name="bzImage")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("bzImage: ")
    assert not ram.written


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"initrd": b""}, "the initrd is empty"),
        ({"initrd": bytes(8 << 20)}, "and an initrd of 8.0 MiB above that, there are 8; give -m 10M or more"),
        ({"initrd": "/nonexistent/initrd"}, "/nonexistent/initrd: No such file or directory"),
        ({"initrd": "/dev/zero"}, "/dev/zero: not a regular file"),
        ({"append": "x" * 256}, "command line of 256 bytes; this kernel takes 255"),
        ({"append": "a\0b"}, "contains a NUL"),
        ({"append": "\ud800"}, "cannot be encoded"),
        ({"modules": [Module(b"x")]}, "a Linux kernel cannot take modules"),
    ],
)
def test_bad_options(options: dict[str, object], complaint: str) -> None:
    ram = Ram()
    with pytest.raises(BtError) as caught:
        load(bzimage(), ram, **options)  # type: ignore[arg-type]  # each row has options of other types
    assert complaint in str(caught.value)
    assert isinstance(caught.value, BadImage if "initrd" in options else BadUsage)
    assert not ram.written


@pytest.mark.skipif(locate("debian-12-linux") is None, reason="needs `make guests`")
def test_debian_kernel() -> None:
    path = locate("debian-12-linux")
    assert path is not None
    image = path.read_bytes()
    header = linux.parse(path.name, image)
    assert header.version == 0x020F
    assert header.code32_start == 0x10_0000
    assert header.cmdline_size == 2047
    assert header.needs_until == 0x100_0000 + 0x100_C000
    ram = Ram(64 << 20)
    state = load(path, ram, append="earlyprintk=ttyS0", initrd=b"x" * 5000)
    assert state.eip == 0x10_0000
    assert ram.read(0x10_0000, 0x1000) == image[header.code_offset :][:0x1000]
    assert ram.u32(0x1_0218) == (64 << 20) - 0x2000
    with pytest.raises(BadImage, match=r"needs 32\.0 MiB of RAM"):
        load(path, Ram(32 << 20))
