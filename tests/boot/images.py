"""Images made from nothing for the loader tests, and the RAM they are loaded into."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from bt.boot.placement import MIB

MULTIBOOT_MAGIC = 0x1BADB002


class Ram:
    """Guest RAM that refuses what lies outside it and remembers whether it was written."""

    def __init__(self, size: int = 8 * MIB, fill: int = 0) -> None:
        self.bytes = bytearray(size) if not fill else bytearray([fill]) * size
        self.written = False

    @property
    def size(self) -> int:
        return len(self.bytes)

    def read(self, paddr: int, n: int, /) -> bytes:
        assert 0 <= paddr <= paddr + n <= self.size
        return bytes(self.bytes[paddr : paddr + n])

    def write(self, paddr: int, data: bytes, /) -> None:
        assert 0 <= paddr <= paddr + len(data) <= self.size
        self.written = True
        self.bytes[paddr : paddr + len(data)] = data

    def u32(self, paddr: int) -> int:
        return int.from_bytes(self.read(paddr, 4), "little")

    def string(self, paddr: int) -> bytes:
        return bytes(self.bytes[paddr : self.bytes.index(0, paddr)])


class BoundlessRam:
    """RAM of any size, into which one can only write."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.written = False

    def read(self, paddr: int, n: int, /) -> bytes:
        raise NotImplementedError

    def write(self, paddr: int, data: bytes, /) -> None:
        assert 0 <= paddr <= paddr + len(data) <= self.size
        self.written = True


@dataclass(frozen=True)
class Segment:
    """A program header with its contents; `memsz` None is as long as the contents."""

    paddr: int
    data: bytes
    memsz: int | None = None
    vaddr: int | None = None
    kind: int = 1


def elf(
    segments: Sequence[Segment], entry: int, *, kind: int = 2, machine: int = 3, elf_class: int = 1, encoding: int = 1
) -> bytes:
    """An ELF32 executable: header, program headers, then the segments' contents on 16-byte boundaries."""
    ident = b"\x7fELF" + bytes([elf_class, encoding, 1]) + bytes(9)
    header = struct.pack("<16sHHIIIIIHHHHHH", ident, kind, machine, 1, entry, 52, 0, 0, 52, 32, len(segments), 40, 0, 0)
    table, contents = b"", b""
    start = -(-(len(header) + 32 * len(segments)) // 16) * 16
    for each in segments:
        memsz = len(each.data) if each.memsz is None else each.memsz
        vaddr = each.paddr if each.vaddr is None else each.vaddr
        offset = start + len(contents)
        table += struct.pack("<IIIIIIII", each.kind, offset, vaddr, each.paddr, len(each.data), memsz, 7, 4096)
        contents += each.data + bytes(-len(each.data) % 16)
    return (header + table).ljust(start, b"\0") + contents


def multiboot_header(flags: int = 3, addresses: Sequence[int] = (), *, checksum_error: int = 0) -> bytes:
    checksum = (-(MULTIBOOT_MAGIC + flags) + checksum_error) & 0xFFFF_FFFF
    return struct.pack(f"<III{len(addresses)}I", MULTIBOOT_MAGIC, flags, checksum, *addresses)


def multiboot_elf(code: bytes = b"\xf4", *, load: int = 0x10_0000, bss: int = 0x100, flags: int = 3) -> bytes:
    """Header first, `code` and the entry right after it."""
    data = multiboot_header(flags) + code
    return elf([Segment(load, data, len(data) + bss)], load + 12)


def multiboot_raw(code: bytes = b"\xf4", *, load: int = 0x10_0000, bss: int = 0x100, before: bytes = b"") -> bytes:
    """An image of the address fields, which is not an ELF; `before` precedes the header."""
    header_at = load + len(before)
    end = header_at + 32 + len(code)
    return before + multiboot_header(0x1_0003, (header_at, load, end, end + bss, header_at + 32)) + code


def bzimage(
    payload: bytes = b"\xf4" * 0x400,
    *,
    version: int = 0x020F,
    setup_sects: int = 2,
    header_end: int = 0x26C,
    syssize: int | None = None,
    loadflags: int = 1,
    code32_start: int = 0x10_0000,
    initrd_addr_max: int = 0x7FFF_FFFF,
    alignment: int = 0x10_0000,
    relocatable: int = 1,
    xloadflags: int = 0,
    cmdline_size: int = 255,
    pref_address: int = 0x10_0000,
    init_size: int = 0x2_0000,
) -> bytes:
    """A bzImage whose real-mode part has nothing but the setup header."""
    setup = bytearray((setup_sects + 1) * 512)
    setup[0x1EF] = 0xFF  # the sentinel that a careless loader copies
    setup[0x1F1] = setup_sects
    struct.pack_into("<I", setup, 0x1F4, -(-len(payload) // 16) if syssize is None else syssize)
    struct.pack_into("<HBB4sH", setup, 0x1FE, 0xAA55, 0xEB, header_end - 0x202, b"HdrS", version)
    setup[0x211] = loadflags
    struct.pack_into("<I", setup, 0x214, code32_start)
    struct.pack_into("<IIBBHI", setup, 0x22C, initrd_addr_max, alignment, relocatable, 12, xloadflags, cmdline_size)
    struct.pack_into("<QI", setup, 0x258, pref_address, init_size)
    return bytes(setup) + payload


@dataclass(frozen=True)
class Symbol:
    """A symbol of `with_symbols`; `section` 1 stands for any section of the image."""

    name: str
    value: int
    size: int = 0
    kind: int = 0
    binding: int = 1
    section: int = 1


def with_symbols(image: bytes, symbols: Sequence[Symbol]) -> bytes:
    """An ELF32 with a symbol table, its strings and three section headers (the first is always empty) appended."""
    strings, table = b"\0", bytes(16)
    for each in symbols:
        info = each.binding << 4 | each.kind
        table += struct.pack("<IIIBBH", len(strings), each.value, each.size, info, 0, each.section)
        strings += each.name.encode() + b"\0"
    at = len(image)
    headers = bytes(40)
    headers += struct.pack("<10I", 0, 2, 0, 0, at, len(table), 2, 1, 4, 16)
    headers += struct.pack("<10I", 0, 3, 0, 0, at + len(table), len(strings), 0, 0, 1, 0)
    where = at + len(table) + len(strings)
    patched = bytearray(image + table + strings + headers)
    struct.pack_into("<I", patched, 32, where)
    struct.pack_into("<HHH", patched, 46, 40, 3, 0)
    return bytes(patched)
