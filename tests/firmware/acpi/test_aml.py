"""The AML emitter, against the encodings in ACPI 6.5, chapter 20."""

import pytest

from bt.firmware.acpi import aml


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("\\", b"\\\0"),
        ("FLD", b"FLD_"),
        ("\\_SB.PCI0", b"\\\x2e_SB_PCI0"),
        ("^A.B.C", b"^\x2f\x03A___B___C___"),
    ],
)
def test_paths(text: str, encoded: bytes) -> None:
    assert aml.path(text) == encoded


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (2, b"\x0a\x02"),
        (0x100, b"\x0b\x00\x01"),
        (0x10000, b"\x0c\x00\x00\x01\x00"),
        (1 << 32, b"\x0e\0\0\0\0\x01\0\0\0"),
        ("ab", b"\x0dab\0"),
        (b"\x60", b"\x60"),
    ],
)
def test_terms(value: aml.Term, encoded: bytes) -> None:
    assert aml.term(value) == encoded


@pytest.mark.parametrize("size", [0, 62, 63, 4093, 4094, (1 << 20) - 5, (1 << 20) - 4, (1 << 20) - 3])
def test_lengths_count_themselves(size: int) -> None:
    package = aml.with_length(bytes(size))
    more = package[0] >> 6
    decoded = package[0] & 0xF | int.from_bytes(package[1 : 1 + more], "little") << 4 if more else package[0]
    assert (decoded, len(package)) == (len(package), size + 1 + more)


def test_eisa_ids() -> None:
    assert aml.eisa_id("PNP0A03") == b"\x0c\x41\xd0\x0a\x03"
