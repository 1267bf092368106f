"""The memory operand that ModRM, SIB and displacement name (SDM vol. 2 2.1.5, 2.2.1), for decode.py."""

from __future__ import annotations

from collections.abc import Callable

from bt.codegen.value import Value
from bt.memory.access import NativeContext

REX_W, REX_R, REX_X, REX_B = 8, 4, 2, 1
# Base and index of 16-bit addressing (SDM vol. 2 table 2-1), by ModRM.rm; 8 = none.
_BASES_16 = (3, 3, 5, 5, 6, 7, 5, 3)
_INDEXES_16 = (6, 7, 6, 7, 8, 8, 8, 8)
_NONE_16 = 8


def byte_at(b: NativeContext, pointer: Value, at: Value | int = 0) -> Value:
    """A byte, i32."""
    return b.load(pointer + (at if isinstance(at, int) else at.zext(64)), 8).zext(32)


def nibbles(b: NativeContext, values: tuple[int, ...], index: Value) -> Value:
    """values[index] (i32) of eight values below 16, i32."""
    packed = sum(v << (4 * i) for i, v in enumerate(values))
    return (b.const(packed, 32) >> (index << 2)) & 15


class OperandAddress:
    """An address in the making: locals that say none until one of the two methods below has been emitted.

    `code`: host address of the instruction, `after`: where ModRM is, or what comes instead; `none`: the number that
    stands for no register; `width`: bits of the displacement; `extended`: a register number with its bit of REX.
    `position` is where the instruction goes on.
    """

    def __init__(
        self,
        b: NativeContext,
        code: Value,
        after: Value,
        modrm: Value,
        *,
        none: int,
        width: int,
        extended: Callable[[Value, int], Value],
    ) -> None:
        self._b, self._code, self._after, self._modrm = b, code, after, modrm
        self._none, self._width, self._extended = none, width, extended
        self.base, self.index = b.local(32, none), b.local(32, none)
        self.scale, self.displacement = b.local(32, 0), b.local(width, 0)
        self.position = b.local(32, after)
        self.relative = b.local(1, 0)  # in 64-bit code: to the instruction behind

    def _displace(self, at: Value, size: int) -> None:
        raw = self._b.load(self._code + at.zext(64), 8 * size)
        self.displacement.set(raw.sext(self._width))
        self.position.set(at + size)

    def of_32_bits(self) -> None:
        """32-bit addressing forms (SDM vol. 2 tables 2-2 and 2-3), and those of 64-bit code (2.2.1.6)."""
        b = self._b
        mod, rm = self._modrm >> 6, self._modrm & 7
        self.base.set(rm)
        self.relative.set((mod == 0) & (rm == 5))
        with b.If(rm == 4):
            sib = byte_at(b, self._code, self._after + 1)
            self.position.set(self._after + 2)
            self.base.set(sib & 7)
            number = self._extended((sib >> 3) & 7, REX_X)
            with b.If(number != 4):
                self.index.set(number)
                self.scale.set(sib >> 6)
        at = self.position.get()
        only_displacement = (mod == 0) & (self.base.get() == 5)
        with b.If(mod == 1):
            self._displace(at, 1)
        with b.If((mod == 2) | only_displacement):
            self._displace(at, 4)
        base = self._extended(self.base.get(), REX_B)
        self.base.set(b.select(only_displacement, b.const(self._none, 32), base))

    def of_16_bits(self) -> None:
        """16-bit addressing forms (SDM vol. 2 table 2-1)."""
        b = self._b
        mod, rm = self._modrm >> 6, self._modrm & 7
        self.base.set(nibbles(b, _BASES_16, rm))
        self.index.set(nibbles(b, _INDEXES_16, rm))
        at = self.position.get()
        only_displacement = (mod == 0) & (rm == 6)
        with b.If(mod == 1):
            self._displace(at, 1)
        with b.If((mod == 2) | only_displacement):
            self._displace(at, 2)
        with b.If(only_displacement):
            self.base.set(_NONE_16)
