"""Random sequences of 64-bit integer instructions, for units: registers of all kinds, memory, flags, short branches.

What a unit does is compared with what the interpreter does, undefined flags included. Some registers are bases of
operands and are never written; some bases lie where accesses fault.
"""

from __future__ import annotations

from random import Random

from tests.cases import layout
from tests.cases.model import EFLAGS_FIXED, FLAG_BITS, LONG_CPU, STATUS_FLAGS, Case, State

_RSP, _RBP, _RSI, _R13, _R14 = 4, 5, 6, 13, 14
_BASES = (_RSI, _RBP, _R13, _RSP)
_INDEX = _R14
_WRITTEN = tuple(number for number in range(16) if number not in (*_BASES, _INDEX))
_MASK = (1 << 64) - 1
_EDGES = [0, 0, 1, 2, _MASK, _MASK - 1, 0x7F, 0x80, 0xFF, 0x8000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 63]
_MIDDLE = layout.DATA.start + 0x1800

# Opcode, whether it has a byte form one below (bit 0), bytes of immediate (-1: by operand size), digits of ModRM.reg
_MODRM: tuple[tuple[str, bool, int, tuple[int, ...]], ...] = (
    *((f"{8 * row + column:02x}", True, 0, ()) for row in range(8) for column in (1, 3)),
    ("81", False, -1, tuple(range(8))),
    ("83", False, 1, tuple(range(8))),
    ("80", False, 1, tuple(range(8))),
    ("c1", True, 1, tuple(range(8))),
    ("d1", True, 0, tuple(range(8))),
    ("d3", True, 0, tuple(range(8))),
    ("f7", True, 0, (2, 3, 4, 5, 6, 7)),
    ("ff", True, 0, (0, 1)),
    ("85", True, 0, ()),
    ("87", True, 0, ()),
    ("89", True, 0, ()),
    ("8b", True, 0, ()),
    ("c7", False, -1, (0,)),
    ("63", False, 0, ()),
    ("69", False, -1, ()),
    ("6b", False, 1, ()),
    ("0faf", False, 0, ()),
    *((f"0f{code}", False, 0, ()) for code in ("b6", "b7", "be", "bf")),
    *((f"0f{0x40 + code:02x}", False, 0, ()) for code in range(16)),
    *((f"0f{0x90 + code:02x}", False, 0, ()) for code in range(16)),
    ("0fba", False, 1, (4, 5, 6, 7)),
    ("0fc1", True, 0, ()),
    ("0fb1", True, 0, ()),
    ("0fa4", False, 1, ()),
    ("0fa5", False, 0, ()),
)
_PLAIN = ("98", "99", "9e", "9f", "f5", "f8", "f9", "a8", "a9", "90")


class Sequences:
    """The same ones for the same seed."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def case(self, length: int = 14) -> Case:
        random = self._random
        registers = [random.choice((random.choice(_EDGES), random.getrandbits(64))) for _ in range(16)]
        for base in _BASES:
            registers[base] = _MIDDLE + random.randrange(-0x100, 0x100)
        if random.random() < 0.3:
            registers[random.choice(_BASES[:3])] = random.choice(
                (
                    *(layout.DATA.end, layout.READ_ONLY.start + 64, layout.READ_ONLY.start, 0, 1 << 47),
                    *(layout.DATA.start, layout.DATA.start, layout.DATA.start + 0x1000),
                )
            )
        registers[_RSP] = layout.STACK.start + 0x800 + random.randrange(0, 64)
        registers[_INDEX] = random.randrange(-64, 64) & _MASK
        code = b"".join(self._instruction() for _ in range(length))
        memory = {_MIDDLE - 0x400: random.randbytes(0x800), layout.STACK.start + 0x400: random.randbytes(0x800)}
        flags = EFLAGS_FIXED | sum(FLAG_BITS[name] for name in STATUS_FLAGS if random.getrandbits(1))
        start = State(tuple(registers), layout.CODE.start, flags, memory)
        return Case(code, start, bits=64, cpu=LONG_CPU, text=f"hex: {code.hex(' ')}", where="sequence")

    def _instruction(self) -> bytes:
        random = self._random
        chance = random.random()
        if chance < 0.08:
            skipped = self._with_modrm()
            return bytes((0x70 | random.randrange(16), len(skipped))) + skipped
        if chance < 0.16:
            number = random.choice(_WRITTEN)
            return self._rex_b(number) + bytes(((0x50, 0x58)[random.getrandbits(1)] | number & 7,))
        if chance < 0.22:
            opcode = bytes.fromhex(random.choice(_PLAIN))
            size = random.choice((b"", b"\x48", b"\x66")) if opcode not in (b"\x9e", b"\x9f") else b""
            immediate = {b"\xa8": 1, b"\xa9": 2 if size == b"\x66" else 4}.get(opcode, 0)
            return size + opcode + random.randbytes(immediate)
        if chance < 0.24:
            # to what follows: call; lea rax, push, ret; lea rax, jmp; lea rax, call
            return bytes.fromhex(
                random.choice(("e800000000", "488d050200000050c3", "488d0502000000ffe0", "488d0502000000ffd0"))
            )
        if chance < 0.28:
            number = random.choice(_WRITTEN)
            if random.getrandbits(1):
                return bytes((0x48 | number >> 3, 0xB8 | number & 7)) + random.randbytes(8)
            return bytes((0x48 | number >> 3, 0x0F, 0xC8 | number & 7))
        return self._with_modrm()

    @staticmethod
    def _rex_b(number: int) -> bytes:
        return b"\x41" if number >= 8 else b""

    def _with_modrm(self) -> bytes:
        random = self._random
        text, has_byte, immediate, digits = random.choice(_MODRM)
        opcode = bytearray.fromhex(text)
        if has_byte and random.random() < 0.25:
            opcode[-1] &= 0xFE
        size = random.choice((b"", b"", b"\x48", b"\x48", b"\x66"))
        rex = 0x48 if size == b"\x48" else 0x40
        prefix = size if size == b"\x66" else b""
        if text in ("0fa4", "0fa5") and prefix:
            prefix, rex = b"", 0x48
        count = immediate
        if immediate == -1:
            count = 2 if prefix else 4
        reg = random.choice(digits) if digits else random.choice(_WRITTEN)
        rex |= (reg >> 3) << 2
        if random.random() < 0.5:
            rm = random.choice(_WRITTEN)
            rex |= rm >> 3
            tail = bytes((0xC0 | (reg & 7) << 3 | rm & 7,))
        else:
            base = random.choice(_BASES)
            rex |= base >> 3
            has_index = random.random() < 0.3
            displacement = random.choice(
                (random.randrange(-128, 128), random.randrange(-0x200, 0x200), random.randrange(-9, 9))
            )
            short = -128 <= displacement < 128
            end = displacement.to_bytes(1 if short else 4, "little", signed=True)
            field = (0x40 if short else 0x80) | (reg & 7) << 3
            if has_index:
                rex |= 2
                tail = bytes((field | 4, random.randrange(4) << 6 | (_INDEX & 7) << 3 | base & 7)) + end
            elif base & 7 == 4:
                tail = bytes((field | 4, 0x20 | base & 7)) + end
            else:
                tail = bytes((field | base & 7,)) + end
        needs = rex != 0x40 or random.random() < 0.5
        return prefix + (bytes((rex,)) if needs else b"") + bytes(opcode) + tail + random.randbytes(count)
