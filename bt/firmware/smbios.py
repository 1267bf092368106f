"""SMBIOS: what the machine says it is (DSP0134 2.8): the structures that systems look at, and their entry point."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bt.firmware.linking import checksum
from bt.memory.map_layout import ram_ranges

ANCHOR, STRUCTURES = "etc/smbios/smbios-anchor", "etc/smbios/smbios-tables"
ANCHOR_BYTES, INTERMEDIATE = 0x1F, 0x10  # and where the anchor's second part begins, with a checksum of its own
TABLE_ADDRESS = 0x18  # of the anchor
VERSION = (2, 8)

MAKER, PRODUCT = "bt", "Standard PC (i440FX + PIIX, 1996)"
UNKNOWN, OTHER, SAFE = 0x02, 0x01, 0x03
NO_HANDLE, NOT_PROVIDED = 0xFFFF, 0xFFFE
KIB, MIB = 1 << 10, 1 << 20
IN_KIB, EXTENDED = 1 << 15, 0x7FFF  # of the size of a memory device, in MiB
MOST_CAPACITY = 0x8000_0000  # KiB: the size is in the extended field

BIOS, SYSTEM, CHASSIS, PROCESSOR, ARRAY, MEMORY, RANGE, BOOT, END = 0, 1, 3, 4, 16, 17, 19, 32, 127


class Facts(NamedTuple):
    """What differs between machines. `memory` in bytes; `signature` and `features` are CPUID.1 EAX and EDX."""

    memory: int
    signature: int
    features: int
    processor: str
    version: str  # of bt


def structures(facts: Facts, with_bios: bool) -> bytes:
    """All of them. SeaBIOS describes itself: `with_bios` is for machines that no firmware has started."""
    found = [
        _structure(SYSTEM, 0x100, "4B16sB2B", (1, 2, 3, 0, bytes(16), 6, 0, 0), (MAKER, PRODUCT, "pc")),
        _structure(CHASSIS, 0x300, "5B 4B 9x", (1, OTHER, 2, 0, 0, SAFE, SAFE, SAFE, UNKNOWN), (MAKER, "pc")),
        _processor(facts),
        *_memory(facts.memory),
        _structure(BOOT, 0x2000, "6s B", (bytes(6), 0), ()),
        _structure(END, 0x7F00, "", (), ()),
    ]  # fmt: skip
    return b"".join([_bios(facts.version), *found] if with_bios else found)


def anchor(tables: bytes, address: int = 0) -> bytes:
    """The entry point for tables at `address`; firmware fills that in otherwise."""
    sizes = [len(structure) for structure in _split(tables)]
    second = struct.pack(
        "<5sBHIHB", b"_DMI_", 0, len(tables), address, len(sizes), VERSION[0] << 4 | VERSION[1]
    )  # that checksum first: the other one is over it too
    second = _with_byte(second, 5, checksum(second))
    first = struct.pack("<4sBBBBHB5s", b"_SM_", 0, ANCHOR_BYTES, *VERSION, max(sizes), 0, bytes(5))
    return _with_byte(first + second, 4, checksum(first + second))


def _with_byte(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes((value,)) + data[at + 1 :]


def _split(tables: bytes) -> Iterator[bytes]:
    """Each structure with the texts behind it."""
    start = 0
    while start < len(tables):
        end = tables.index(b"\0\0", start + tables[start + 1]) + 2
        yield tables[start:end]
        start = end


def _structure(kind: int, handle: int, shape: str, values: Sequence[int | bytes], texts: Sequence[str]) -> bytes:
    """`shape` is what follows the header; fields that name a text hold its number, from 1 on."""
    body = struct.pack("<" + shape, *values)
    behind = b"".join(text.encode() + b"\0" for text in texts) or b"\0"
    return struct.pack("<BBH", kind, 4 + len(body), handle) + body + behind + b"\0"


def _bios(version: str) -> bytes:
    supports_no_characteristics, is_virtual_machine = 1 << 3, 1 << 4
    values = (1, 2, 0xE800, 3, 0, supports_no_characteristics, 0, is_virtual_machine, *[0xFF] * 4)  # no revisions
    return _structure(BIOS, 0, "BBHBBQBBBBBB", values, (MAKER, version, "01/01/2026"))


def _processor(facts: Facts) -> bytes:
    central, enabled, family_in_second_field = 3, 0x41, 0xFE
    values = (
        1, central, family_in_second_field, 2, facts.signature, facts.features, 3, 0, 0, 1000, 1000, enabled, OTHER,
        NO_HANDLE, NO_HANDLE, NO_HANDLE, 0, 0, 0, 1, 1, 1, UNKNOWN, OTHER,
    )  # fmt: skip
    return _structure(PROCESSOR, 0x400, "4B2I2B3H2B3H6BHH", values, ("CPU 0", MAKER, facts.processor))


def _memory(size: int) -> Iterator[bytes]:
    """One module that holds all of it, in one array; and where it is."""
    array = 0x1000
    big = size // KIB >= MOST_CAPACITY
    capacity = (MOST_CAPACITY, size) if big else (size // KIB, 0)
    on_board_or_other, system_memory, no_correction = OTHER, 3, 3
    yield _structure(
        ARRAY, array, "3BIHHQ",
        (on_board_or_other, system_memory, no_correction, capacity[0], NOT_PROVIDED, 1, capacity[1]), (),
    )  # fmt: skip
    if size % MIB and size // KIB < IN_KIB:
        short, extended = IN_KIB | size // KIB, 0
    else:
        short, extended = (size // MIB, 0) if size // MIB < EXTENDED else (EXTENDED, size // MIB)
    dimm, ram, other_detail = 9, 7, 1 << 1
    yield _structure(
        MEMORY, 0x1100, "5H4BBHH4BBIH3H",
        (array, NOT_PROVIDED, 0xFFFF, 0xFFFF, short, dimm, 0, 1, 0, ram, other_detail, 0, 2, 0, 0, 0, 0, extended, 0,
         0, 0, 0), ("DIMM 0", MAKER),
    )  # fmt: skip
    for number, (start, length) in enumerate(ram_ranges(size)):
        kib = (start // KIB, (start + length - 1) // KIB)
        yield _structure(RANGE, 0x1300 + number, "IIHBQQ", (*kib, array, 1, 0, 0), ())
