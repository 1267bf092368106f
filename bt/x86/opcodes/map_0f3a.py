"""The three-byte opcode map 0F 3A xx (SDM vol. 2 appendix A, table A-5): a ModRM and an immediate byte follow."""

from __future__ import annotations

from typing import Final

from .form import Form

MAP_0F3A: Final[tuple[Form, ...]] = ()

# Encodings that raise #UD on this class of processor, each with what it is on others.
MAP_0F3A_UNDEFINED: Final[dict[str, str]] = {
    "0F 3A 00-07 /r": "reserved",
    "0F 3A 08-0E /r": "SSE4.1",
    "0F 3A 0F /r": "SSSE3",
    "0F 3A 10-13 /r": "reserved",
    "0F 3A 14-17 /r": "SSE4.1",
    "0F 3A 18-1F /r": "reserved",
    "0F 3A 20-22 /r": "SSE4.1",
    "0F 3A 23-3F /r": "reserved",
    "0F 3A 40-42 /r": "SSE4.1",
    "0F 3A 43 /r": "reserved",
    "0F 3A 44 /r": "PCLMULQDQ",
    "0F 3A 45-5F /r": "reserved",
    "0F 3A 60-63 /r": "SSE4.2",
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
