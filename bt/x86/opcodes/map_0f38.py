"""The three-byte opcode map 0F 38 xx (SDM vol. 2 appendix A, table A-4): a ModRM byte follows."""

from __future__ import annotations

from typing import Final

from .form import IDENTITY, Form, Gv, Mv

MAP_0F38: Final[tuple[Form, ...]] = (
    Form("0F 38 F0 /r", "movbe", (Gv, Mv), "move.movbe", IDENTITY, cpuid="movbe"),
    Form("0F 38 F1 /r", "movbe", (Mv, Gv), "move.movbe", IDENTITY, cpuid="movbe"),
)

# Encodings that raise #UD on this class of processor, each with what it is on others.
MAP_0F38_UNDEFINED: Final[dict[str, str]] = {
    "0F 38 00-0B /r": "SSSE3",
    "0F 38 0C-0F /r": "reserved",
    "0F 38 10 /r": "SSE4.1",
    "0F 38 11-13 /r": "reserved",
    "0F 38 14-15 /r": "SSE4.1",
    "0F 38 16 /r": "reserved",
    "0F 38 17 /r": "SSE4.1",
    "0F 38 18-1B /r": "reserved",
    "0F 38 1C-1E /r": "SSSE3",
    "0F 38 1F /r": "reserved",
    "0F 38 20-25 /r": "SSE4.1",
    "0F 38 26-27 /r": "reserved",
    "0F 38 28-2B /r": "SSE4.1",
    "0F 38 2C-2F /r": "reserved",
    "0F 38 30-35 /r": "SSE4.1",
    "0F 38 36 /r": "reserved",
    "0F 38 37 /r": "SSE4.2",
    "0F 38 38-41 /r": "SSE4.1",
    "0F 38 42-7F /r": "reserved",
    "0F 38 80-82 /r": "VMX; invpcid",
    "0F 38 83-C7 /r": "reserved",
    "0F 38 C8-CD /r": "SHA",
    "0F 38 CE /r": "reserved",
    "0F 38 CF /r": "GFNI",
    "0F 38 D0-D7 /r": "reserved",
    "0F 38 D8 /r": "Key Locker",
    "0F 38 D9-DA /r": "reserved",
    "0F 38 DB-DF /r": "AES; Key Locker",
    "0F 38 E0-EF /r": "reserved",
    "F2 0F 38 F0-F1 /r": "crc32",
    "F3 0F 38 F0-F1 /r": "reserved",
    "0F 38 F2-F4 /r": "reserved",
    "0F 38 F5-F6 /r": "shadow stacks; adcx, adox",
    "0F 38 F7 /r": "reserved",
    "0F 38 F8-FC /r": "direct stores, enqcmd, Key Locker, RAO-INT",
    "0F 38 FD-FF /r": "reserved",
}
