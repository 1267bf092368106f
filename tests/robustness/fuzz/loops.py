"""Programs of loops that hardly ever fault or leave: what translators make their best code of, executed in it.

A loop has pointers in ESI, EDI and EBP, which stay, its count in ECX, and random instructions on EAX, EDX, EBX, FP
registers and memory, with branches over one of them and calls of short functions. It may be entered anywhere: what ECX
is then makes no more than MOST_ROUNDS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from tests.robustness.fuzz import world

MOST_ROUNDS = 0x3FF
_EAX, _ECX, _EDX, _EBX, _ESP, _EBP, _ESI, _EDI = range(8)
_FREE = (_EAX, _EDX, _EBX)
_POINTERS = (_ESI, _EDI, _EBP)
_BYTES = (0, 2, 3, 4, 6, 7)  # AL, DL, BL, AH, DH, BH
_REACH = 0x80  # of a displacement of a byte
_LONGEST = 110  # bytes of a loop's body


class Loops:
    """Code of `size` bytes for 32-bit segments."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._menu: tuple[tuple[int, Callable[[], bytes]], ...] = (
            (20, self._arithmetic),
            (10, self._moves),
            (6, self._shift),
            (5, self._one_operand),
            (4, self._bits),
            (4, self._conditional),
            (3, self._multiply),
            (2, self._divide),
            (3, self._stack),
            (2, self._flags),
            (6, self._vector),
            (3, self._x87),
            (2, self._function),
        )
        self._weights = [weight for weight, _ in self._menu]

    def code(self, size: int) -> bytes:
        """Loops one behind the other, the last of which leads back to the first."""
        code = bytearray()
        while len(code) < size - _LONGEST - 64:
            code += self._loop()
        code += b"\xe9" + struct.pack("<i", -len(code) - 5)
        return bytes(code.ljust(size, b"\x90"))

    def _loop(self) -> bytes:
        random = self.random
        before = b"".join(self._pointer(register) for register in _POINTERS)
        before += b"\xb9" + struct.pack("<I", random.choice((1, 3, 20, 200, MOST_ROUNDS, MOST_ROUNDS)))
        body, length = b"", random.randrange(4, _LONGEST)
        while len(body) < length:
            body += self._branch_over() if random.random() < 0.12 else self._any()
        end = b"\x49\x81\xe1" + struct.pack("<I", MOST_ROUNDS)  # dec ecx; and ecx, MOST_ROUNDS
        return before + body + end + b"\x0f\x85" + struct.pack("<i", -len(body) - len(end) - 6)

    def _any(self) -> bytes:
        return self.random.choices(self._menu, self._weights)[0][1]()

    def _pointer(self, register: int) -> bytes:
        page_end = world.DATA + 0x1000 * self.random.randrange(1, 7)
        near = (page_end - 8, page_end - 1, page_end - 4, world.DATA + self.random.randrange(_REACH, 0x7000))
        return bytes([0xB8 | register]) + struct.pack("<I", self.random.choice(near))

    # -- operands ----------------------------------------------------------------------------------------------------

    def _memory(self, reg: int) -> bytes:
        """ModRM and displacement by a pointer, perhaps with ECX, which is small, as index; or an absolute address."""
        random = self.random
        base = random.choice(_POINTERS)
        displacement = random.randrange(-_REACH, _REACH)
        if random.random() < 0.2:
            return bytes([0x44 | reg << 3, random.choice((0, 1)) << 6 | _ECX << 3 | base, displacement & 0xFF])
        if random.random() < 0.1:
            address = world.DATA + random.randrange(0x6000)
            return bytes([reg << 3 | 5]) + struct.pack("<I", address)
        return bytes([0x40 | reg << 3 | base, displacement & 0xFF])

    def _operand(self, reg: int, *, byte: bool = False) -> bytes:
        """A free register, or memory."""
        if self.random.random() < 0.55:
            return bytes([0xC0 | reg << 3 | self.random.choice(_BYTES if byte else _FREE)])
        return self._memory(reg)

    def _register(self, *, byte: bool = False) -> int:
        return self.random.choice(_BYTES if byte else _FREE)

    def _sized(self, code: bytes) -> bytes:
        return b"\x66" + code if self.random.random() < 0.2 else code

    # -- instructions ------------------------------------------------------------------------------------------------

    def _arithmetic(self) -> bytes:
        random = self.random
        operation, byte = random.randrange(8), random.random() < 0.3
        kind = random.randrange(3)
        if kind == 2:
            immediate = bytes([random.getrandbits(8)])
            return self._sized(bytes([0x80 if byte else 0x83]) + self._operand(operation, byte=byte) + immediate)
        code = bytes([operation << 3 | kind << 1 | (not byte)]) + self._operand(self._register(byte=byte), byte=byte)
        return code if byte else self._sized(code)

    def _moves(self) -> bytes:
        random = self.random
        kind = random.randrange(7)
        match kind:
            case 0:
                return self._sized(b"\x8b" + self._operand(self._register()))
            case 1:
                return self._sized(b"\x89" + self._operand(self._register()))
            case 2:
                return b"\x88" + self._operand(self._register(byte=True), byte=True)
            case 3:
                return bytes([0x0F, random.choice((0xB6, 0xB7, 0xBE, 0xBF))]) + self._memory(self._register())
            case 4:
                return b"\x8d" + self._memory(self._register())
            case 5:
                return bytes([0xB8 | self._register()]) + random.randbytes(4)
        return bytes([random.choice((0x86, 0x87)), 0xC0 | self._register() << 3 | self._register()])

    def _shift(self) -> bytes:
        random = self.random
        extension, byte = random.choice((0, 1, 4, 5, 7)), random.random() < 0.25
        kind = random.randrange(3)
        operand = self._operand(extension, byte=byte)
        if kind == 0:
            return bytes([0xC0 | (not byte)]) + operand + bytes([random.getrandbits(5)])
        return bytes([(0xD0 if kind == 1 else 0xD2) | (not byte)]) + operand

    def _one_operand(self) -> bytes:
        random = self.random
        if random.random() < 0.5:
            return self._sized(bytes([0xFF]) + self._operand(random.randrange(2)))
        return self._sized(bytes([0xF7]) + self._operand(random.choice((2, 3))))

    def _bits(self) -> bytes:
        random = self.random
        kind = random.randrange(4)
        registers = bytes([0xC0 | self._register() << 3 | self._register()])
        match kind:
            case 0:
                return bytes([0x0F, random.choice((0xA3, 0xAB, 0xB3, 0xBB))]) + registers
            case 1:
                return b"\x0f\xba" + self._operand(random.randrange(4, 8)) + bytes([random.getrandbits(5)])
            case 2:
                return bytes([0x0F, random.choice((0xA4, 0xAC))]) + registers + bytes([random.getrandbits(5)])
        return bytes([0x0F, 0xC8 | self._register()])

    def _conditional(self) -> bytes:
        condition = self.random.randrange(16)
        if self.random.random() < 0.5:
            return bytes([0x0F, 0x90 | condition]) + self._operand(0, byte=True)
        return bytes([0x0F, 0x40 | condition]) + self._operand(self._register())

    def _multiply(self) -> bytes:
        random = self.random
        if random.random() < 0.5:
            return b"\x0f\xaf" + self._operand(self._register())
        return b"\xf7" + self._operand(random.choice((4, 5)))

    def _divide(self) -> bytes:
        """EBX | 1 divides EDX:EAX, of which EDX is 0."""
        return b"\x83\xcb\x01\x31\xd2\xf7" + bytes([0xC0 | 6 << 3 | _EBX])

    def _stack(self) -> bytes:
        pushed = self._register()
        return bytes([0x50 | pushed]) + self._arithmetic() + bytes([0x58 | self._register()])

    def _flags(self) -> bytes:
        return self.random.choice((b"\xf8", b"\xf9", b"\xf5", b"\x9f", b"\x9e", b"\x98", b"\x99", b"\x66\x98"))

    def _vector(self) -> bytes:
        random = self.random
        number = random.randrange(8)
        registers = bytes([0xC0 | number << 3 | random.randrange(8)])
        match random.randrange(5):
            case 0:
                return b"\x0f\x10" + self._memory(number)  # movups
            case 1:
                return b"\x0f\x11" + self._memory(number)
            case 2:
                prefix = random.choice((b"", b"\x66", b"\xf3", b"\xf2"))
                return prefix + bytes([0x0F, random.choice((0x58, 0x59, 0x5C, 0x5D, 0x5F))]) + registers
            case 3:
                return b"\x66\x0f" + bytes([random.choice((0xEF, 0xFE, 0xD4, 0x6F, 0x61, 0xF4))]) + registers
        return b"\xf2\x0f" + bytes([0x2A, 0xC0 | number << 3 | self._register()])  # cvtsi2sd

    def _x87(self) -> bytes:
        """A load, something with it, and a store."""
        random = self.random
        load = random.choice((b"\xd9", b"\xdd", b"\xdb")) + self._memory(0)
        between = random.choice((b"\xd8\xc0", b"\xd8\xc8", b"\xd9\xe0", b"\xd9\xe1", b"\xdc" + self._memory(0)))
        return load + between + random.choice((b"\xd9", b"\xdd")) + self._memory(3)

    def _branch_over(self) -> bytes:
        skipped = self._any()
        return bytes([0x70 | self.random.randrange(16), len(skipped)]) + skipped

    def _function(self) -> bytes:
        """A function of an instruction, and a call of it."""
        function = self._arithmetic() + b"\xc3"
        return b"\xeb" + bytes([len(function)]) + function + b"\xe8" + struct.pack("<i", -len(function) - 5)
