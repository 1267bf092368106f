"""Floating-point and packed values that arithmetic finds difficult, as the bytes of registers and operands.

Zeros, denormals, infinities, NaNs of both kinds, unnormals, the ends of every integer and floating-point range, halves,
and what lies next to the limits of conversions to integers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

_EXPONENTS_32, _EXPONENTS_64, _EXPONENTS_80 = 0xFF, 0x7FF, 0x7FFF
_BIAS_80 = 0x3FFF
_LIMITS = tuple(1 << bits for bits in (0, 7, 15, 16, 31, 32, 52, 53, 63))
"""FIST, CVTxx2SI and packing to integers change their minds near these."""


@dataclass
class FpValues:
    """A source of values out of one random generator."""

    random: Random

    def lane(self) -> bytes:
        """Sixteen bytes: singles, doubles, an extended or integers."""
        kind = self.random.randrange(5)
        if kind == 0:
            return b"".join(self.single() for _ in range(4))
        if kind == 1:
            return self.double() + self.double()
        if kind == 2:
            return self.extended() + self.random.randbytes(6)
        if kind == 3:
            return b"".join(self._integer(4) for _ in range(4))
        return self._integer(8) + self.random.randbytes(8)

    def single(self) -> bytes:
        """32 bits."""
        if self._chance(0.15):
            return struct.pack("<f", self._near_limit())
        return self._float(_EXPONENTS_32, 23).to_bytes(4, "little")

    def double(self) -> bytes:
        """64 bits."""
        if self._chance(0.15):
            return struct.pack("<d", self._near_limit())
        return self._float(_EXPONENTS_64, 52).to_bytes(8, "little")

    def extended(self) -> bytes:
        """80 bits; the integer bit mostly as it should be, otherwise unnormals, pseudo-infinities and their kin."""
        if self._chance(0.15):
            return self._extended_near_limit()
        value = self._float(_EXPONENTS_80, 63)
        fraction, high = value & (1 << 63) - 1, value >> 63
        integer = bool(high & _EXPONENTS_80) if self._chance(0.9) else self._chance(0.5)
        if self._chance(0.3):  # what fits a narrower format, so that conversions are exact now and then
            fraction &= -1 << 40
        return struct.pack("<QH", fraction | integer << 63, high)

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _near_limit(self) -> float:
        return self.random.choice((1, -1)) * (self.random.choice(_LIMITS) + self.random.randint(-6, 6) / 4)

    def _extended_near_limit(self) -> bytes:
        """The same with all 64 bits of precision."""
        quarters = 4 * self.random.choice(_LIMITS) + self.random.randint(-3, 6)
        if quarters.bit_length() > 64:
            quarters &= -4
        length = quarters.bit_length()
        fraction = quarters << 64 - length if length <= 64 else quarters >> length - 64
        sign = self.random.getrandbits(1) << 15
        return struct.pack("<QH", fraction, sign | _BIAS_80 + length - 3)

    def _integer(self, size: int) -> bytes:
        top = 1 << 8 * size - 1
        edges = (0, 1, top - 1, top, 2 * top - 1, 0x7FFF, 0x8000, 0x80008000, 0x7F7F8080)
        value = self.random.choice((*edges, self.random.getrandbits(8 * size), self.random.getrandbits(8)))
        return (value & 2 * top - 1).to_bytes(size, "little")

    def _float(self, exponents: int, fraction_bits: int) -> int:
        """Sign, exponent and fraction, without an explicit integer bit."""
        random = self.random
        middle = exponents // 2
        near = middle + random.randint(-3, 70)
        exponent = random.choice((0, 1, middle, near, near, exponents - 1, exponents, random.randint(0, exponents)))
        whole = (1 << fraction_bits) - 1
        top = 1 << fraction_bits - 1
        fraction = random.choice((0, 0, 1, top, top | 1, whole, whole - 1, random.getrandbits(fraction_bits)))
        return (random.getrandbits(1) * (exponents + 1) | exponent) << fraction_bits | fraction
