"""Programs of code in long mode, in plots of PLOT_BYTES: registers, a loop that gets hot, then something that faults.

A plot can be entered at its beginning in any state of the registers; what goes wrong in one ends in the next one, which
the handlers (long_world.py) lead to. So most instructions are those of loops, whatever else happens. Behind the last
plot of a size comes the first one of another size, or of the same.

In loops pointers stay (BP, SI, DI, in 64-bit code R12 and R13), and the count is in CX.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tests.robustness.fuzz import long_world, world

_AX, _CX, _DX, _BX, _SP, _BP, _SI, _DI = range(8)
MOST_ROUNDS = 0x3FF
_ALIASES = (0, 0, 0, 0x7F80_0000_0000, long_world.HIGH, 0xFFFF_FF80_0000_0000)
"""Where the first pages are in the address space, too."""
_LONGEST = 90  # bytes of a loop's body
_ADDRESS_SIZE, _OPERAND_SIZE = b"\x67", b"\x66"
_BASES_16 = {_SI: 4, _DI: 5, _BP: 6, _BX: 7}
_SIB, _NO_BASE = 4, 5


class Memory(NamedTuple):
    """base + (CX << scale, if `indexed`) + displacement; without base RIP-relative to or at an absolute address."""

    base: int | None
    displacement: int
    indexed: bool = False
    scale: int = 0
    relative: bool = False


class Encoder:
    """Instructions for code of `bits`."""

    def __init__(self, random: Random, bits: int) -> None:
        self.random, self.bits = random, bits

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def encode(
        self,
        opcode: bytes,
        reg: int,
        rm: int | Memory,
        size: int = 0,
        prefix: bytes = b"",
        immediate: bytes = b"",
        *,
        address_size: bool = True,
    ) -> bytes:
        """With ModRM. `size`: of operands, bits; 0 where it is the opcode's. `prefix`: one that belongs to it."""
        before = prefix
        if size in (16, 32) and (size == 16) != (self.bits == 16):
            before = _OPERAND_SIZE + before
        rex = 8 * (size == 64) | 4 * (reg >> 3)
        if isinstance(rm, int):
            rex |= rm >> 3
            tail = bytes([0xC0 | (reg & 7) << 3 | rm & 7])
        else:
            rex |= (rm.base or 0) >> 3
            if self.bits == 64:
                if address_size and self.chance(0.02):
                    before = _ADDRESS_SIZE + before
                if self.chance(0.05):
                    before = bytes([self.random.choice((0x64, 0x65, 0x65, 0x2E, 0x36))]) + before
            tail = self._modrm(reg & 7, rm)
        if self.bits == 64 and (rex or self.chance(0.05)):
            before += bytes([0x40 | rex])
        return before + opcode + tail + immediate

    def _modrm(self, reg: int, rm: Memory) -> bytes:
        middle = reg << 3
        if self.bits == 16:
            if rm.base is None:
                return bytes([middle | 6]) + struct.pack("<H", rm.displacement & 0xFFFF)
            return bytes([0x40 | middle | _BASES_16[rm.base], rm.displacement & 0xFF])
        if rm.base is None:
            plain = self.bits == 32 or rm.relative
            code = bytes([middle | _NO_BASE]) if plain else bytes([middle | _SIB, 0x25])
            return code + struct.pack("<i", rm.displacement)
        if rm.indexed:
            return bytes([0x44 | middle, rm.scale << 6 | _CX << 3 | rm.base & 7, rm.displacement & 0xFF])
        sib = b"\x24" if rm.base & 7 == _SIB else b""
        return bytes([0x40 | middle | rm.base & 7]) + sib + bytes([rm.displacement & 0xFF])

    def set(self, register: int, value: int, *, short: bool = False) -> bytes:
        """MOV of an immediate to a whole register; `short`: 32 bits are enough."""
        if self.bits == 64 and not short:
            return bytes([0x48 | register >> 3, 0xB8 | register & 7]) + struct.pack("<Q", value & (1 << 64) - 1)
        prefix = b"\x66" if self.bits == 16 else b"\x41" if register > 7 else b""
        return prefix + bytes([0xB8 | register & 7]) + struct.pack("<I", value & 0xFFFFFFFF)

    def near(self, opcode: bytes, distance: int) -> bytes:
        """A jump or call of `distance` bytes from its own beginning."""
        size = 2 if self.bits == 16 else 4
        return opcode + (distance - len(opcode) - size).to_bytes(size, "little", signed=True)


class Loop(Encoder):
    """A loop: pointers and count, then the body over and over."""

    def __init__(self, random: Random, bits: int, address: int) -> None:
        """`address`: about where the code will be."""
        super().__init__(random, bits)
        self._address = address
        self._wide = bits == 64
        self._free = (_AX, _DX, _BX, *((8, 9, 10, 11, 14, 15) if self._wide else ()))
        self._pointers = (_BP, _SI, _DI, *((12, 13) if self._wide else ()))
        self._menu: tuple[tuple[float, Callable[[], bytes]], ...] = (
            (22, self._arithmetic),
            (12, self._moves),
            (6, self._shift),
            (5, self._one_operand),
            (4, self._bits),
            (4, self._conditional),
            (3, self._multiply),
            (2, self._divide),
            (4, self._stack),
            (2, self._flags),
            (5, self._vector),
            (2, self._x87),
            (2.5, self._function),
            (0.7, self._string),
            (0.5, self._interpreted),
            *(((4, self._of_64_bits), (1, self._indirect)) if self._wide else ()),
        )
        self._weights = [weight for weight, _ in self._menu]
        self._at_page_ends, self._mixes_pages = self.chance(0.08), self.chance(0.05)

    def code(self) -> bytes:
        random = self.random
        before = b"".join(self._pointer(register) for register in self._pointers)
        stack = random.choice(world.STACK_TOPS) - 8 * random.randrange(64)
        alias = random.choice(_ALIASES[:4]) if self._wide and self.chance(0.2) else 0
        before += self.set(_SP, alias + stack, short=not alias)
        before += self.set(_CX, random.choice((1, 20, 200, MOST_ROUNDS, MOST_ROUNDS, MOST_ROUNDS)), short=True)
        body, length = b"", random.randrange(4, _LONGEST if self._wide else 110)
        while len(body) < length:
            body += self._branch_over() if self.chance(0.12) else self._any()
        # dec ecx; and ecx, MOST_ROUNDS; jnz
        end = self.encode(b"\xff", 1, _CX, 32) + self.encode(
            b"\x81", 4, _CX, 32, immediate=struct.pack("<I", MOST_ROUNDS)
        )
        return before + body + end + self.near(b"\x0f\x85", -len(body) - len(end))

    def _any(self) -> bytes:
        return self.random.choices(self._menu, self._weights)[0][1]()

    def _pointer(self, register: int) -> bytes:
        # the same page at two addresses would have one place in the TLB
        pages = range(1, 7) if self._mixes_pages else (1 + self._pointers.index(register),)
        page = 0x1000 * self.random.choice(pages)
        near = page + (self.random.choice((-8, -4, -1)) if self._at_page_ends else self.random.randrange(0x100, 0x700))
        if self.bits == 16:
            return self.set(register, near)
        alias = self.random.choice(_ALIASES) if self._wide else 0
        return self.set(register, alias + world.DATA + near, short=not alias and self.chance(0.7))

    # -- operands ----------------------------------------------------------------------------------------------------

    def _register(self) -> int:
        number: int = self.random.choice(self._free)
        return number

    def _memory(self) -> Memory:
        random = self.random
        kind = random.random()
        offset = random.randrange(0x6000 if self._mixes_pages else 0xFF0)
        if kind < 0.08:
            return Memory(None, offset if self.bits == 16 else world.DATA + offset)
        if kind < 0.2 and self._wide:
            return Memory(None, world.DATA + offset % 0x4000 - self._address, relative=True)
        indexed = kind < 0.4 and self.bits != 16
        scale = random.choice((0, 0, 1, 3)) if indexed else 0
        return Memory(random.choice(self._pointers), random.randrange(-0x80, 0x80), indexed, scale)

    def _rm(self, *, memory: float = 0.45) -> int | Memory:
        return self._memory() if self.chance(memory) else self._register()

    def _size(self) -> int:
        return self.random.choice((64, 64, 64, 32, 32, 16) if self._wide else (32, 32, 32, 16, 16))

    def _immediate(self, size: int) -> bytes:
        return self.random.randbytes(min(size, 32) // 8)

    # -- instructions ------------------------------------------------------------------------------------------------

    def _arithmetic(self) -> bytes:
        operation, size = self.random.randrange(8), self._size()
        match self.random.randrange(6):
            case 0:
                return self.encode(b"\x83", operation, self._rm(), size, immediate=self._immediate(8))
            case 1:
                return self.encode(b"\x81", operation, self._rm(), size, immediate=self._immediate(size))
            case 2:
                return self.encode(b"\x80", operation, self._rm(), immediate=self._immediate(8))
            case 3:
                return self.encode(bytes([operation << 3 | self.random.choice((0, 2))]), self._register(), self._rm())
        return self.encode(bytes([operation << 3 | self.random.choice((1, 3))]), self._register(), self._rm(), size)

    def _moves(self) -> bytes:
        random, size = self.random, self._size()
        match random.randrange(9):
            case 0 | 1:
                return self.encode(b"\x8b", self._register(), self._rm(memory=0.8), size)
            case 2 | 3:
                return self.encode(b"\x89", self._register(), self._rm(memory=0.8), size)
            case 4:
                return self.encode(random.choice((b"\x88", b"\x8a")), self._register(), self._rm())
            case 5:
                narrow = bytes([0x0F, random.choice((0xB6, 0xB7, 0xBE, 0xBF))])
                return self.encode(narrow, self._register(), self._rm(), size)
            case 6:
                return self.encode(b"\x8d", self._register(), self._memory(), size)
            case 7:
                return self.encode(b"\xc7", 0, self._rm(), size, immediate=self._immediate(size))
        return self.encode(b"\x87", self._register(), self._register(), size)

    def _shift(self) -> bytes:
        random, size = self.random, self._size()
        extension = random.choice((0, 1, 2, 3, 4, 5, 7))
        match random.randrange(5):
            case 0 | 1:
                return self.encode(b"\xc1", extension, self._rm(), size, immediate=bytes([random.getrandbits(7)]))
            case 2:
                return self.encode(b"\xd1", extension, self._rm(), size)
            case 3:
                return self.encode(random.choice((b"\xd3", b"\xd3", b"\xd2")), extension, self._rm(), size)
        double = random.choice((b"\x0f\xa4", b"\x0f\xac"))
        size = max(size, 32)
        return self.encode(double, self._register(), self._rm(), size, immediate=bytes([random.getrandbits(6)]))

    def _one_operand(self) -> bytes:
        opcode, extension = self.random.choice(((b"\xff", 0), (b"\xff", 1), (b"\xf7", 2), (b"\xf7", 3), (b"\xfe", 0)))
        return self.encode(opcode, extension, self._rm(), self._size() if opcode != b"\xfe" else 0)

    def _bits(self) -> bytes:
        random, size = self.random, self._size()
        match random.randrange(4):
            case 0:
                opcode = bytes([0x0F, random.choice((0xA3, 0xAB, 0xB3, 0xBB))])
                return self.encode(opcode, self._register(), self._register(), size)
            case 1:
                number = bytes([random.getrandbits(6)])
                return self.encode(b"\x0f\xba", random.randrange(4, 8), self._rm(), size, immediate=number)
            case 2:
                exchange = bytes([0x0F, random.choice((0xC1, 0xC0, 0xB1, 0xB0))])
                return self.encode(exchange, self._register(), self._rm(), size)
        swapped = self._register()
        rex = 0x40 | 8 * (size == 64) | swapped >> 3
        return bytes([rex] if self._wide else []) + bytes([0x0F, 0xC8 | swapped & 7])

    def _conditional(self) -> bytes:
        condition = self.random.randrange(16)
        if self.chance(0.5):
            return self.encode(bytes([0x0F, 0x90 | condition]), 0, self._rm())
        return self.encode(bytes([0x0F, 0x40 | condition]), self._register(), self._rm(), self._size())

    def _multiply(self) -> bytes:
        size = self._size()
        match self.random.randrange(3):
            case 0:
                return self.encode(b"\x0f\xaf", self._register(), self._rm(), size)
            case 1:
                return self.encode(b"\x69", self._register(), self._rm(), size, immediate=self._immediate(size))
        return self.encode(b"\xf7", self.random.choice((4, 5)), self._rm(), size)

    def _divide(self) -> bytes:
        """BX | 1 divides DX:AX, of which DX is 0 or, for IDIV, which may fault all the same, a sign."""
        size = 64 if self._wide and self.chance(0.5) else 32
        code = self.encode(b"\x83", 1, _BX, size, immediate=b"\x01")
        if self.chance(0.8):
            return code + self.encode(b"\x31", _DX, _DX, 32) + self.encode(b"\xf7", 6, _BX, size)
        return code + self.encode(b"\x31", _DX, _DX, 32) + self.encode(b"\xd1", 5, _AX, size) + self.encode(
            b"\xf7", 7, _BX, size
        )  # fmt: skip

    def _push(self, register: int, opcode: int = 0x50) -> bytes:
        prefix = b"\x66" if self.bits == 16 else b"\x41" if register > 7 else b""
        return prefix + bytes([opcode | register & 7])

    def _pop(self, register: int) -> bytes:
        return self._push(register, 0x58)

    def _stack(self) -> bytes:
        one, other = self._register(), self._register()
        match self.random.randrange(4):
            case 0 if self._wide:
                # [rsp - 8] with an operand of its own
                return b"\x48\x89" + bytes([0x44 | (one & 7) << 3 & 0x38, 0x24, 0xF8]) + self._arithmetic()
            case 1:
                pushed = self.encode(b"\xff", 6, self._memory(), 32 if self.bits == 16 else 0)
                return pushed + self._pop(other)
            case 2 if self.bits != 16:
                return b"\x6a" + self._immediate(8) + self._pop(other)
        return self._push(one) + self._arithmetic() + self._pop(other)

    def _flags(self) -> bytes:
        simple = (b"\xf8", b"\xf9", b"\xf5", b"\x9f", b"\x9e", b"\x98", b"\x99", b"\x66\x98", b"\x66\x99")
        return self.random.choice((*simple, b"\x48\x98", b"\x48\x99") if self._wide else simple)

    def _vector(self) -> bytes:
        random = self.random
        number, other = (random.randrange(16 if self._wide else 8) for _ in range(2))
        match random.randrange(6):
            case 0:
                return self.encode(b"\x0f\x10", number, self._memory())
            case 1:
                return self.encode(b"\x0f\x11", number, self._memory())
            case 2:
                prefix = random.choice((b"", b"\x66", b"\xf3", b"\xf2"))
                opcode = bytes([0x0F, random.choice((0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F))])
                scalar = prefix in (b"\xf3", b"\xf2")
                return self.encode(opcode, number, self._memory() if scalar and self.chance(0.5) else other, 0, prefix)
            case 3:
                opcode = bytes([0x0F, random.choice((0xEF, 0xFE, 0xD4, 0x6F, 0x61, 0xF4))])
                return self.encode(opcode, number, other, 0, b"\x66")
            case 4:
                return self.encode(b"\x0f\x2e", number, other, 0, random.choice((b"", b"\x66")))
        size = 64 if self._wide and self.chance(0.5) else 0
        if self.chance(0.5):
            return self.encode(b"\x0f\x2c", self._register(), number, size, b"\xf2")
        return self.encode(b"\x0f\x2a", number, self._register(), size, random.choice((b"\xf2", b"\xf3")))

    def _x87(self) -> bytes:
        """A load, something with it, and a store."""
        random = self.random
        load = self.encode(random.choice((b"\xd9", b"\xdd", b"\xdb")), 0, self._memory())
        between = random.choice((b"\xd8\xc0", b"\xd8\xc8", b"\xd9\xe0", b"\xd9\xe1"))
        return load + between + self.encode(random.choice((b"\xd9", b"\xdd")), 3, self._memory())

    def _branch_over(self) -> bytes:
        skipped = self._any()
        return bytes([0x70 | self.random.randrange(16), len(skipped)]) + skipped

    def _function(self) -> bytes:
        """A function of an instruction, and a call of it."""
        function = self._arithmetic() + (b"\xc3" if self.chance(0.9) else b"\xc2\0\0")
        call = self.near(b"\xe8", -len(function))
        return b"\xeb" + bytes([len(function)]) + function + call

    def _indirect(self) -> bytes:
        """To an address behind it: lea, then JMP, or CALL of what takes the address of return off again."""
        skipped = self._arithmetic()
        if self.chance(0.5):
            return b"\x48\x8d\x05" + struct.pack("<i", 2 + len(skipped)) + b"\xff\xe0" + skipped
        return b"\x48\x8d\x05" + struct.pack("<i", 2 + len(skipped)) + b"\xff\xd0" + skipped + b"\x58"

    def _of_64_bits(self) -> bytes:
        random = self.random
        match random.randrange(5):
            case 0:
                return self.set(self._register(), random.getrandbits(64))
            case 1:
                return self.encode(b"\x63", self._register(), self._rm(), 64)
            case 2:
                return self.encode(b"\xc7", 0, self._memory(), 64, immediate=self._immediate(32))
            case 3:
                return self.encode(b"\x81", random.randrange(8), self._memory(), 64, immediate=self._immediate(32))
        return self.encode(b"\x8d", self._register(), self._memory(), 64)

    def _string(self) -> bytes:
        """A few elements, and a pointer as good as before."""
        random = self.random
        opcode = bytes([random.choice((0xA4, 0xA5, 0xAA, 0xAB, 0xAC, 0xAD, 0xA6, 0xA7, 0xAE, 0xAF))])
        wide = b"\x48" if self._wide and self.chance(0.5) else b""
        code = b"\xfc" if self.chance(0.9) else b"\xfd"
        if self.chance(0.6):
            code += self._push(_CX) + self.set(_CX, random.randrange(9), short=True)
            code += random.choice((b"\xf3", b"\xf2")) + wide + opcode + self._pop(_CX)
        else:
            code += wide + opcode
        return code + self._pointer(_SI) + self._pointer(_DI)

    def _interpreted(self) -> bytes:
        """What translators leave to the interpreter, or nearly so."""
        random = self.random
        scan = self.encode(bytes([0x0F, random.choice((0xBC, 0xBD))]), self._register(), self._rm(), self._size())
        over = random.choice((b"\xe2", b"\xe3", b"\xe0", b"\xe1")) + b"\0"
        others = (
            b"\x0f\x31",
            (b"\x66\x9c" if self.bits == 16 else b"\x9c") + self._pop(_AX),
            b"\x9c\x9d",
            over,
            scan,
            scan,
        )
        return self._push(_CX) + random.choice(others) + self._pop(_CX)
