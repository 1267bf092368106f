"""Start states in bulk: values are drawn out of pools, because thinking about each one would take too long."""

from __future__ import annotations

import struct
from array import array
from functools import cache
from random import Random

from tests.cases.model import EFLAGS_FIXED, FLAG_BITS, STATUS_FLAGS
from tests.oracles.bulk.batch import REGISTER_WORDS
from tests.oracles.fp_values import FpValues

_POOL, _FEW = 1024, 40
"""Values there are, and those that one batch draws from: few, so that operands are often equal."""
FLAGS = (*STATUS_FLAGS, "df", "id")
"""Flags that vary.  TF traps, AC makes the program's own accesses fault, NT is POPF's affair."""
MASKED_CONTROL = 0x3F
MASKED_MXCSR = 0x1F80
_PRECISION_ROUNDING_INFINITY = 0x1F00
_ROUNDING_FTZ_DAZ = 0xE040
_STICKY_X87, _STICKY_SSE = 0x7F, 0x3F
_TOP_AND_CONDITIONS = 0x7F00


@cache
def _integers() -> tuple[int, ...]:
    """Boundaries of every width: each single bit, with its neighbours, and repeated patterns."""
    powers = [1 << bit for bit in range(32)]
    near = [value + delta & 0xFFFFFFFF for value in powers for delta in (-1, 0, 1)]
    negative = [-value & 0xFFFFFFFF for value in near]
    patterns = [0x80808080, 0x7F7F7F7F, 0x00FF00FF, 0x80008000, 0x7FFF7FFF, 0x55555555, 0xAAAAAAAA, 0x09990999]
    return (0, 0, 1, 0xFFFFFFFF, *near, *negative, *patterns)


class States:
    """Pools of values out of one random generator."""

    def __init__(self, random: Random) -> None:
        self._random = random
        values = FpValues(random)
        self._lanes = [values.lane() for _ in range(_POOL)]
        stack = [values.extended() for _ in range(_POOL // 2)]
        stack += [lane[:8] + random.choice((b"\xff\xff", b"\x00\x00", lane[8:10])) for lane in self._lanes[::2]]
        self._stack = [value + bytes(6) for value in stack]

    def registers(self, count: int) -> array[int]:
        """Words for `count` records of REGISTER_WORDS."""
        random = self._random
        pool = random.choices(_integers(), k=_FEW // 2) + [random.getrandbits(32) for _ in range(_FEW // 2)]
        words = array("I", random.choices(pool, k=count * REGISTER_WORDS))
        flags = [EFLAGS_FIXED | sum(FLAG_BITS[name] for name in FLAGS if random.getrandbits(1)) for _ in range(_FEW)]
        words[0::REGISTER_WORDS] = array("I", random.choices(flags, k=count))
        return words

    def integers(self, size: int) -> bytearray:
        """Memory for integer instructions, `size` a multiple of 4."""
        random = self._random
        pool = [*random.choices(_integers(), k=_FEW // 2), *(random.getrandbits(32) for _ in range(_FEW // 2))]
        return bytearray(array("I", random.choices(pool, k=size // 4)).tobytes())

    def packed(self, count: int, size: int) -> bytearray:
        """Memory for FP instructions: `count` times `size` bytes that begin with whole values."""
        lanes = self._random.sample(self._lanes, _FEW)
        each = -(-size // 16)
        drawn = self._random.choices(lanes, k=count * each)
        return bytearray(b"".join(b"".join(drawn[each * row : each * (row + 1)])[:size] for row in range(count)))

    def images(self, count: int) -> list[bytes]:
        """FXSAVE images of FX_BYTES, exceptions masked: any tags and TOP, precision, rounding, sticky flags."""
        random = self._random
        stack = random.choices(random.sample(self._stack, _FEW), k=8 * count)
        xmm = random.choices(random.sample(self._lanes, _FEW), k=8 * count)
        return [
            b"".join((self._head(), *stack[8 * row : 8 * row + 8], *xmm[8 * row : 8 * row + 8])) for row in range(count)
        ]

    def stack(self) -> bytes:
        """The ten bytes of an x87 register."""
        return self._random.choice(self._stack)[:10]

    def control(self) -> int:
        """An x87 control word with all exceptions masked."""
        return self._random.getrandbits(16) & _PRECISION_ROUNDING_INFINITY | MASKED_CONTROL

    def status(self) -> int:
        """An x87 status word that goes with it: nothing pending."""
        bits = self._random.getrandbits(32)
        return bits & _TOP_AND_CONDITIONS | (bits >> 16 & _STICKY_X87 if bits >> 31 else 0)

    def mxcsr(self) -> int:
        """MXCSR with all exceptions masked."""
        bits = self._random.getrandbits(32)
        return bits & (_ROUNDING_FTZ_DAZ | (_STICKY_SSE if bits >> 31 else 0)) | MASKED_MXCSR

    def _head(self) -> bytes:
        bits = self._random.getrandbits(16)
        tags = 0xFF if bits & 1 else 0 if bits & 0x0E == 0 else bits >> 8
        return struct.pack("<HHBxH16xII", self.control(), self.status(), tags, 0, self.mxcsr(), 0)
