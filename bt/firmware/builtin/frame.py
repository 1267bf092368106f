"""The registers of who has called a service, on its stack, where the ROM's code has put them (rom.py)."""

from __future__ import annotations

import struct

_LAYOUT = struct.Struct("<HHIIIIIIIIHHHH")
FRAME_BYTES = _LAYOUT.size
CF, PF, AF, ZF, IF = 1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 9


def _low(name: str) -> property:
    def get(self: Frame) -> int:
        return int(getattr(self, name)) & 0xFFFF

    def put(self: Frame, value: int) -> None:
        setattr(self, name, getattr(self, name) & 0xFFFF_0000 | value & 0xFFFF)

    return property(get, put)


def _byte(name: str, shift: int) -> property:
    def get(self: Frame) -> int:
        return int(getattr(self, name)) >> shift & 0xFF

    def put(self: Frame, value: int) -> None:
        setattr(self, name, getattr(self, name) & ~(0xFF << shift) | (value & 0xFF) << shift)

    return property(get, put)


class Frame:
    """32-bit registers, and their parts by name; `flags`, CS and IP are those that IRET takes."""

    __slots__ = ("cs", "ds", "eax", "ebp", "ebx", "ecx", "edi", "edx", "es", "esi", "esp", "flags", "ip", "number")

    ax, bx, cx, dx = _low("eax"), _low("ebx"), _low("ecx"), _low("edx")
    si, di, bp = _low("esi"), _low("edi"), _low("ebp")
    al, ah, bl, bh = _byte("eax", 0), _byte("eax", 8), _byte("ebx", 0), _byte("ebx", 8)
    cl, ch, dl, dh = _byte("ecx", 0), _byte("ecx", 8), _byte("edx", 0), _byte("edx", 8)

    def __init__(self, data: bytes) -> None:
        (self.es, self.ds, self.edi, self.esi, self.ebp, self.esp, self.ebx, self.edx, self.ecx, self.eax,
         self.number, self.ip, self.cs, self.flags) = _LAYOUT.unpack(data)  # fmt: skip

    def pack(self) -> bytes:
        return _LAYOUT.pack(
            self.es, self.ds, self.edi, self.esi, self.ebp, self.esp, self.ebx, self.edx, self.ecx, self.eax,
            self.number, self.ip, self.cs, self.flags,
        )  # fmt: skip

    def set_flag(self, flag: int, value: bool) -> None:
        self.flags = self.flags | flag if value else self.flags & ~flag

    @property
    def carry(self) -> bool:
        return bool(self.flags & CF)

    @carry.setter
    def carry(self, value: bool) -> None:
        self.set_flag(CF, value)

    def fail(self, code: int) -> None:
        """AH is an error's code, and CF says so."""
        self.ah = code
        self.carry = True

    def succeed(self) -> None:
        self.ah = 0
        self.carry = False
