"""The three-byte opcode map 0F 3A xx (SDM vol. 2 appendix A, table A-5): a ModRM and an immediate byte follow."""

from __future__ import annotations

from typing import Final

from .form import Ed, Edb, Edw, Ey, Form, Ib, Operand, Pq, Qq, Vd, Vq, Vx, Wd, Wq, Wu, Wx
from .simd import simd


def _string(encoding: str, name: str, meaning: str) -> Form:
    """A comparison of strings, which need not be aligned."""
    return simd(encoding, name, (Vx, Wu, Ib), "sse4.2", meaning)._replace(writes="oszapc")


def _sse41(opcode: str, name: str, operands: tuple[Operand, ...], meaning: str = "fp.execute") -> Form:
    return simd(f"66 0F 3A {opcode} /r", name, (*operands, Ib), "sse4.1", meaning)


# Columns line up; the formatter would tear them apart.
# fmt: off
MAP_0F3A: Final[tuple[Form, ...]] = (
    simd("0F 3A 0F /r",    "palignr", (Pq, Qq, Ib), "ssse3"),
    simd("66 0F 3A 0F /r", "palignr", (Vx, Wx, Ib), "ssse3"),
    _sse41("08", "roundps",   (Vx, Wx)),
    _sse41("09", "roundpd",   (Vx, Wx)),
    _sse41("0A", "roundss",   (Vd, Wd)),
    _sse41("0B", "roundsd",   (Vq, Wq)),
    _sse41("0C", "blendps",   (Vx, Wx)),
    _sse41("0D", "blendpd",   (Vx, Wx)),
    _sse41("0E", "pblendw",   (Vx, Wx)),
    _sse41("14", "pextrb",    (Edb, Vx), "fp.store"),
    _sse41("15", "pextrw",    (Edw, Vx), "fp.store"),
    _sse41("16", "pextrd",    (Ey, Vx),  "fp.store"),
    _sse41("17", "extractps", (Ed, Vx),  "fp.store"),
    _sse41("20", "pinsrb",    (Vx, Edb)),
    _sse41("21", "insertps",  (Vx, Wd)),
    _sse41("22", "pinsrd",    (Vx, Ey)),
    _sse41("40", "dpps",      (Vx, Wx)),
    _sse41("41", "dppd",      (Vx, Wx)),
    _sse41("42", "mpsadbw",   (Vx, Wx)),
    _string("66 0F 3A 60 /r", "pcmpestrm", "fp.test_lengths"),
    _string("66 0F 3A 61 /r", "pcmpestri", "fp.test_lengths_index"),
    _string("66 0F 3A 62 /r", "pcmpistrm", "fp.test"),
    _string("66 0F 3A 63 /r", "pcmpistri", "fp.test_index"),
)
# fmt: on

# Encodings that raise #UD on this class of processor, each with what it is on others.
MAP_0F3A_UNDEFINED: Final[dict[str, str]] = {
    "0F 3A 00-07 /r": "reserved",
    "0F 3A 08-0E /r": "only with 66",
    "0F 3A 10-13 /r": "reserved",
    "0F 3A 14-17 /r": "only with 66",
    "0F 3A 18-1F /r": "reserved",
    "0F 3A 20-22 /r": "only with 66",
    "0F 3A 23-3F /r": "reserved",
    "0F 3A 40-42 /r": "only with 66",
    "0F 3A 43 /r": "reserved",
    "0F 3A 44 /r": "PCLMULQDQ",
    "0F 3A 45-5F /r": "reserved",
    "0F 3A 60-63 /r": "only with 66",
    "0F 3A 64-CB /r": "reserved",
    "0F 3A CC /r": "SHA",
    "0F 3A CD /r": "reserved",
    "0F 3A CE-CF /r": "GFNI",
    "0F 3A D0-DE /r": "reserved",
    "0F 3A DF /r": "AES",
    "0F 3A E0-EF /r": "reserved",
    "0F 3A F0 /r": "hreset",
    "0F 3A F1-FF /r": "reserved",
}
