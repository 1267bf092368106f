"""ACPI machine language, as far as our tables need it (ACPI 6.5, chapter 20): functions that read like ASL.

Each returns the bytes of one term. Where a term is wanted, a whole number stands for itself, a string for itself as
text, bytes for a term made by another function. Names are given as paths: "\\_SB.PCI0", "LNKA", "^FLD".
"""

import struct
from collections.abc import Sequence
from functools import cache

Term = bytes | int | str

ZERO, ONE = b"\x00", b"\x01"
LOCAL0 = b"\x60"
ARG0 = b"\x68"
NULL_NAME = b"\x00"
SYSTEM_IO, PCI_CONFIG = 0x01, 0x02  # spaces of an operation region
BYTE_ACCESS = 0x01  # flags of a field: byte accesses, no lock, what is not written is preserved


@cache
def path(text: str) -> bytes:
    """A NameString (20.2.2)."""
    bare = text.lstrip("\\^")
    prefix = text[: len(text) - len(bare)].encode()
    segments = [segment.ljust(4, "_").encode() for segment in bare.split(".") if segment]
    if not segments:
        return prefix + NULL_NAME
    count = {1: b"", 2: b"\x2e"}.get(len(segments), b"\x2f" + bytes((len(segments),)))
    return prefix + count + b"".join(segments)


def term(value: Term) -> bytes:
    """The number, text, or term (20.2.3)."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return b"\x0d" + value.encode("ascii") + b"\0"
    if value < 2:
        return ONE if value else ZERO
    for prefix, size in ((b"\x0a", 1), (b"\x0b", 2), (b"\x0c", 4)):
        if value < 1 << 8 * size:
            return prefix + value.to_bytes(size, "little")
    return b"\x0e" + value.to_bytes(8, "little")


def encoded_length(length: int) -> bytes:
    """A number of bits or bytes as a PkgLength that counts nothing of itself (20.2.4)."""
    if length < 1 << 6:
        return bytes((length,))
    high = length >> 4
    size = (high.bit_length() + 7) // 8
    return bytes((size << 6 | length & 0xF,)) + high.to_bytes(size, "little")


def with_length(body: bytes) -> bytes:
    """What a package's length goes in front of: it counts itself."""
    for own in (1, 2, 3, 4):
        total = len(body) + own
        if total < (1 << 6 if own == 1 else 1 << 8 * own - 4):
            break
    if own == 1:
        return bytes((total,)) + body
    return bytes((own - 1 << 6 | total & 0xF,)) + (total >> 4).to_bytes(own - 1, "little") + body


# -- data and names -------------------------------------------------------------------------------------------------


def name(where: str, value: Term) -> bytes:
    return b"\x08" + path(where) + term(value)


def buffer(data: bytes) -> bytes:
    return b"\x11" + with_length(term(len(data)) + data)


def package(*elements: Term) -> bytes:
    return b"\x12" + with_length(bytes((len(elements),)) + b"".join(map(term, elements)))


def eisa_id(text: str) -> bytes:
    """Three letters and four hexadecimal digits, as Plug and Play devices are called."""
    letters = [ord(letter) - ord("@") for letter in text[:3]]
    packed = letters[0] << 26 | letters[1] << 21 | letters[2] << 16 | int(text[3:], 16)
    return term(int.from_bytes(packed.to_bytes(4, "big"), "little"))


# -- what has terms in it -------------------------------------------------------------------------------------------


def scope(where: str, *terms: bytes) -> bytes:
    return b"\x10" + with_length(path(where) + b"".join(terms))


def device(where: str, *terms: bytes) -> bytes:
    return b"\x5b\x82" + with_length(path(where) + b"".join(terms))


def processor(where: str, number: int) -> bytes:
    """Without registers of its own."""
    return b"\x5b\x83" + with_length(path(where) + struct.pack("<BIB", number, 0, 0))


def method(where: str, arguments: int, *terms: bytes, serialized: bool = False) -> bytes:
    flags = arguments | (0x08 if serialized else 0)
    return b"\x14" + with_length(path(where) + bytes((flags,)) + b"".join(terms))


def if_(condition: bytes, *terms: bytes) -> bytes:
    return b"\xa0" + with_length(condition + b"".join(terms))


def operation_region(where: str, space: int, offset: int, length: int) -> bytes:
    return b"\x5b\x80" + path(where) + bytes((space,)) + term(offset) + term(length)


def field(region: str, flags: int, bits: Sequence[tuple[str, int]]) -> bytes:
    """Names for so many bits each of the region, one after the other."""
    units = b"".join(path(unit) + encoded_length(count) for unit, count in bits)
    return b"\x5b\x81" + with_length(path(region) + bytes((flags,)) + units)


# -- what methods do ------------------------------------------------------------------------------------------------


def return_(value: Term) -> bytes:
    return b"\xa4" + term(value)


def store(value: Term, target: bytes) -> bytes:
    return b"\x70" + term(value) + target


def and_(left: Term, right: Term, target: bytes = NULL_NAME) -> bytes:
    return b"\x7b" + term(left) + term(right) + target


def or_(left: Term, right: Term, target: bytes = NULL_NAME) -> bytes:
    return b"\x7d" + term(left) + term(right) + target


def less(left: Term, right: Term) -> bytes:
    return b"\x95" + term(left) + term(right)


def call(where: str, *arguments: Term) -> bytes:
    return path(where) + b"".join(map(term, arguments))


def create_dword_field(source: bytes, offset: int, where: str) -> bytes:
    return b"\x8a" + source + term(offset) + path(where)


# -- resources ------------------------------------------------------------------------------------------------------


def resources(*descriptors: bytes) -> bytes:
    """A ResourceTemplate (6.4); its checksum of 0 is not checked."""
    return buffer(b"".join(descriptors) + b"\x79\x00")


def io(first: int, length: int, alignment: int = 1) -> bytes:
    """Ports that are where they are; all 16 address lines are decoded."""
    return struct.pack("<BBHHBB", 0x47, 0x01, first, first, alignment, length)


def irq(number: int) -> bytes:
    """An ISA interrupt: edges, active high, not shared."""
    return struct.pack("<BH", 0x22, 1 << number)


def dma(channel: int) -> bytes:
    """Of 8 bits, in compatibility mode."""
    return struct.pack("<BBB", 0x2A, 1 << channel, 0x00)


def interrupts(*numbers: int) -> bytes:
    """One of these: level, active high, shared. The first number is 5 bytes from the start."""
    body = struct.pack(f"<BB{len(numbers)}I", 0x09, len(numbers), *numbers)
    return struct.pack("<BH", 0x89, len(body)) + body


_PRODUCED, _CACHEABLE, _WRITABLE, _WHOLE_RANGE = 0x0C, 0x02, 0x01, 0x03  # first and last are fixed


def bus_numbers(first: int, last: int) -> bytes:
    return _space("HHHHH", 0x88, 2, 0, first, last)


def io_range(first: int, last: int) -> bytes:
    """Ports that devices behind the bridge may have."""
    return _space("HHHHH", 0x88, 1, _WHOLE_RANGE, first, last)


def memory_range(first: int, last: int, cacheable: bool = False) -> bytes:
    """Addresses that devices behind the bridge may have."""
    return _space("IIIII", 0x87, 0, _WRITABLE | (_CACHEABLE if cacheable else 0), first, last)


def _space(shape: str, tag: int, kind: int, flags: int, first: int, last: int) -> bytes:
    body = struct.pack(f"<BBB{shape}", kind, _PRODUCED, flags, 0, first, last, 0, last - first + 1)
    return struct.pack("<BH", tag, len(body)) + body
