"""Random programs in which integer flags pass between integer and FP instructions, the same ones for the same seed.

Additions and their kin, comparisons of the x87 and of SSE, and FCMOVcc, Jcc, SETcc, CMOVcc, ADC, LAHF and PUSHF that
look at what they left; in loops, so that flags cross from one block to the next and back. Only instructions that define
all flags or none: what is undefined is random_code's business.
"""

from __future__ import annotations

import struct
from random import Random

from tests.cases import layout
from tests.cases.model import EFLAGS_FIXED, FLAG_BITS, STATUS_FLAGS, Case, State
from tests.oracles.random_fp import IGNORED_POINTERS

LONGEST = 24
"""Instructions in the longest loop."""

_OPERANDS, _IMAGE, _RESULT = (layout.DATA.start + offset for offset in (0x800, 0x1000, 0x2000))
_STACK_TOP = layout.STACK_TOP
_MXCSR_MASK = (28, 4)  # the host's own

# What compares in different ways: zeros, numbers, infinities, both kinds of NaN, a denormal.
_DOUBLES = (
    0x0000000000000000, 0x8000000000000000, 0x3FF0000000000000, 0xBFF0000000000000, 0x7FF0000000000000,
    0xFFF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001, 0x0000000000000001, 0x4450000000000000,
)  # fmt: skip
_SINGLES = (0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 1, 0x62800000)
_EXTENDEDS = (
    (0, 0), (0, 0x8000), (1 << 63, 0x3FFF), (1 << 63, 0xBFFF), (1 << 63, 0x7FFF), (1 << 63, 0xFFFF),
    (3 << 62, 0x7FFF), (1 << 63 | 1, 0x7FFF), (1, 0), (1 << 63, 0x4045),
)  # fmt: skip

_ADD, _ADC, _SBB, _SUB, _CMP = 0, 2, 3, 5, 7  # /digit of the immediate group, and opcode / 8


def generate(seed: int, count: int) -> list[Case]:
    """`count` programs of one loop each."""
    return [_Generator(Random(f"flags {seed}.{number}"), f"{seed}.{number}").case() for number in range(count)]


class _Generator:
    def __init__(self, random: Random, seed: str) -> None:
        self.random, self.seed = random, seed

    def case(self) -> Case:
        """Load the FP registers, go round the loop EDI times, store them."""
        body = b"".join(self._instruction() for _ in range(self.random.randint(2, LONGEST)))
        code = b"\x0f\xae\x0d" + struct.pack("<I", _IMAGE)
        # MOV and LEA and JECXZ change no flags
        loop = body + b"\x8d\x7f\xff\x89\xf9\xe3\x05"  # lea edi, [edi-1]; mov ecx, edi; jecxz over the jump
        code += loop + b"\xe9" + struct.pack("<i", -(len(loop) + 5))
        code += b"\x0f\xae\x05" + struct.pack("<I", _RESULT)
        ignored = tuple((_RESULT + start, size) for start, size in (IGNORED_POINTERS, _MXCSR_MASK))
        return Case(
            code,
            start=self._start(),
            ignored_memory=ignored,
            text=f"seed {self.seed}: hex: {code.hex(' ')}",
            where="random_flags",
        )

    def _instruction(self) -> bytes:
        kinds = (self._integer, self._x87_compare, self._sse_compare, self._fcmov, self._consumer, self._consumer)
        return self.random.choice(kinds)()

    def _register(self) -> int:
        return self.random.choice((0, 2, 6))  # eax, edx, esi

    def _integer(self) -> bytes:
        """All flags, all but CF, or CF alone."""
        reg, other = self._register(), self._register()
        kind = self.random.randrange(5)
        if kind == 0:
            operation = self.random.choice((_ADD, _ADC, _SBB, _SUB, _CMP))
            return bytes([operation << 3 | 1, 0xC0 | other << 3 | reg])
        if kind == 1:
            operation = self.random.choice((_ADD, _ADC, _SBB, _SUB, _CMP))
            return bytes([0x83, 0xC0 | operation << 3 | reg, self.random.choice((0, 1, 0x7F, 0x80, 0xFF))])
        if kind == 2:
            return bytes([self.random.choice((0x40, 0x48)) | reg])  # inc, dec
        if kind == 3:
            return bytes([0xF7, 0xD8 | reg])  # neg
        return bytes([self.random.choice((0xF5, 0xF8, 0xF9, 0x9E))])  # cmc, clc, stc, sahf

    def _x87_compare(self) -> bytes:
        """FUCOMI, FCOMI; the popping ones with a new value on the stack, so that it does not run empty."""
        index = self.random.randrange(8)
        if self.random.random() < 0.7:
            return bytes([0xDB, self.random.choice((0xE8, 0xF0)) | index])
        return b"\xdd\x43" + self._place() + bytes([0xDF, self.random.choice((0xE8, 0xF0)) | index])  # fld qword

    def _sse_compare(self) -> bytes:
        prefix = self.random.choice((b"", b"\x66"))
        opcode = prefix + b"\x0f" + bytes([self.random.choice((0x2E, 0x2F))])
        reg = self.random.randrange(8)
        if self.random.random() < 0.5:
            return opcode + bytes([0xC0 | reg << 3 | self.random.randrange(8)])
        return opcode + bytes([0x43 | reg << 3]) + self._place()

    def _place(self) -> bytes:
        """Displacement from EBX of one of the doubles in memory."""
        return bytes([8 * self.random.randrange(len(_DOUBLES))])

    def _fcmov(self) -> bytes:
        return bytes([self.random.choice((0xDA, 0xDB)), 0xC0 | self.random.randrange(32)])

    def _consumer(self) -> bytes:
        condition, reg = self.random.randrange(16), self._register()
        kind = self.random.randrange(7)
        if kind == 0:
            return bytes([0x70 | condition, 3, 0x8D, 0x76, 1])  # jcc over lea esi, [esi+1]
        if kind == 1:
            return bytes([0x70 | condition, 2, 0x89, 0xC2])  # jcc over mov edx, eax
        if kind == 2:
            return bytes([0x0F, 0x90 | condition, 0xC0 | self.random.choice((0, 2, 4, 6))])  # setcc al, dl, ah, dh
        if kind == 3:
            return bytes([0x0F, 0x40 | condition, 0xC0 | reg << 3 | self._register()])  # cmovcc
        if kind == 4:
            return b"\x9c\x5a"  # pushfd; pop edx
        if kind == 5:
            return b"\x9f"  # lahf
        return b"\x83\xd2\x00"  # adc edx, 0

    def _start(self) -> State:
        random = self.random
        flags = sum(FLAG_BITS[name] for name in STATUS_FLAGS if random.random() < 0.5)
        registers = [random.choice((0, 1, 0x7FFFFFFF, 0x80000000, random.getrandbits(32))) for _ in range(8)]
        registers[3], registers[4], registers[7] = _OPERANDS, _STACK_TOP, random.randint(1, 4)
        doubles = random.sample(_DOUBLES, len(_DOUBLES))
        memory = {_OPERANDS: struct.pack(f"<{len(doubles)}Q", *doubles), _IMAGE: self._image()}
        return State(tuple(registers), layout.CODE.start, EFLAGS_FIXED | flags, memory)

    def _image(self) -> bytes:
        head = struct.pack("<HHBx18xII", 0x37F, self.random.randrange(8) << 11, 0xFF, 0x1F80, 0)
        stack = b"".join(struct.pack("<QHxxxxxx", *self.random.choice(_EXTENDEDS)) for _ in range(8))
        return (head + stack + b"".join(self._lane() for _ in range(8))).ljust(512, b"\0")

    def _lane(self) -> bytes:
        if self.random.random() < 0.5:
            return struct.pack("<QQ", self.random.choice(_DOUBLES), 0)
        return struct.pack("<I12x", self.random.choice(_SINGLES))
