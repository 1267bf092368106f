"""Random sequences of 64-bit integer instructions, for units: registers of all kinds, memory, flags, short branches.

What a unit does is compared with what the interpreter does, undefined flags included. Some registers are bases of
operands and are never written; some bases lie where accesses fault.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from bt.engine.identity.long.floating import is_inline
from bt.x86.opcodes import FORMS, Method
from bt.x86.opcodes.encoding import parse_encoding
from tests.cases import layout
from tests.cases.model import (
    EFLAGS_FIXED,
    FLAG_BITS,
    LONG_CPU,
    STATUS_FLAGS,
    Case,
    State,
    with_every_instruction,
)
from tests.oracles.fp_values import FpValues

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
        if chance < 0.27:
            return self._base_moved()
        if chance < 0.29:
            # to what follows: call; lea rax, push, ret; lea rax, jmp; lea rax, call
            return bytes.fromhex(
                random.choice(("e800000000", "488d050200000050c3", "488d0502000000ffe0", "488d0502000000ffd0"))
            )
        if chance < 0.33:
            number = random.choice(_WRITTEN)
            if random.getrandbits(1):
                return bytes((0x48 | number >> 3, 0xB8 | number & 7)) + random.randbytes(8)
            return bytes((0x48 | number >> 3, 0x0F, 0xC8 | number & 7))
        if chance < 0.37:
            rex, address = self._memory(random.choice(_WRITTEN))  # lea
            return bytes((0x48 | rex, 0x8D)) + address
        return self._with_modrm()

    def _base_moved(self) -> bytes:
        """add, sub, lea, inc or dec of a base, or its push and pop; so that accesses are constants apart."""
        random = self._random
        base = random.choice(_BASES)
        rex, low, amount = 0x48 | base >> 3, base & 7, random.randrange(-24, 24) & 0xFF
        match random.randrange(4):
            case 0:
                return bytes((rex, 0x83, 0xC0 | random.choice((0, 5)) << 3 | low, amount))
            case 1:
                sib = b"\x24" if low == _RSP else b""
                return bytes((rex | (base >> 3) << 2, 0x8D, 0x40 | low << 3 | low)) + sib + bytes((amount,))
            case 2:
                return bytes((rex, 0xFF, 0xC0 | random.getrandbits(1) << 3 | low))
            case _:
                return self._rex_b(base) + bytes((0x50 | low,)) + self._rex_b(base) + bytes((0x58 | low,))

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
        more, tail = self._memory(reg) if random.random() < 0.5 else self._register(reg, random.choice(_WRITTEN))
        rex |= more
        needs = rex != 0x40 or random.random() < 0.5
        return prefix + (bytes((rex,)) if needs else b"") + bytes(opcode) + tail + random.randbytes(count)

    @staticmethod
    def _register(reg: int, rm: int) -> tuple[int, bytes]:
        """Bits of REX, and ModRM."""
        return (reg >> 3) << 2 | rm >> 3, bytes((0xC0 | (reg & 7) << 3 | rm & 7,))

    def _memory(self, reg: int, unit: int = 1) -> tuple[int, bytes]:
        """Bits of REX, and ModRM and all that follows, for memory around a base; `unit` divides displacements."""
        random = self._random
        base = random.choice(_BASES)
        displacement = random.choice(
            (random.randrange(-128, 128), random.randrange(-0x200, 0x200), random.randrange(-9, 9))
        )
        displacement = displacement // unit * unit
        short = -128 <= displacement < 128
        end = displacement.to_bytes(1 if short else 4, "little", signed=True)
        field = (0x40 if short else 0x80) | (reg & 7) << 3
        rex = (reg >> 3) << 2 | base >> 3
        if unit == 1 and random.random() < 0.3:
            rex |= 2
            return rex, bytes((field | 4, random.randrange(4) << 6 | (_INDEX & 7) << 3 | base & 7)) + end
        if base & 7 == _RSP:
            return rex, bytes((field | 4, 0x20 | base & 7)) + end
        return rex, bytes((field | base & 7,)) + end


_FX_BEFORE, _FX_AFTER = layout.DATA.start + 0x2800, layout.DATA.start + 0x2C00
_FX_LOAD, _FX_STORE = 1, 0  # digits of 0F AE


class FloatingSequences(Sequences):
    """FP instructions that units have as themselves among the others, between an FXRSTOR64 and an FXSAVE64."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed)
        self._values = FpValues(self._random)
        self._forms = [form for form in FORMS[1:] if form.long != "gone" and is_inline(form)]

    def case(self, length: int = 16) -> Case:
        made = super().case(length)
        ends = [bytes((0x48, 0x0F, 0xAE, digit << 3 | 4, 0x25)) for digit in (_FX_LOAD, _FX_STORE)]
        code = ends[0] + _FX_BEFORE.to_bytes(4, "little") + made.code + ends[1] + _FX_AFTER.to_bytes(4, "little")
        registers = list(made.start.registers)
        if self._random.random() < 0.5:  # so that what must be aligned often is
            for base in _BASES:
                registers[base] &= -16
        memory = {**made.start.memory, _FX_BEFORE: self._image()}
        start = replace(made.start, registers=tuple(registers), memory=memory)
        cpu = with_every_instruction(LONG_CPU)
        return replace(made, code=code, start=start, cpu=cpu, text=f"hex: {code.hex(' ')}")

    def _image(self) -> bytes:
        """Of FXSAVE64; one in eight with exceptions that are not masked."""
        random = self._random
        control, mxcsr = random.choice((0x37F, 0x27F, 0xF7F)), 0x1F80 | random.choice((0, 0x8040, 0x6000))
        if random.random() < 0.125:
            control, mxcsr = control & ~random.getrandbits(6), mxcsr & ~(random.getrandbits(6) << 7)
        head = control.to_bytes(2, "little") + bytes((0, random.randrange(8) << 3, random.getrandbits(8)))
        head = head.ljust(24, b"\0") + mxcsr.to_bytes(4, "little")
        stack = b"".join(self._values.extended().ljust(16, b"\0") for _ in range(8))
        lanes = b"".join(self._values.lane() for _ in range(16))
        return (head.ljust(32, b"\0") + stack + lanes).ljust(512, b"\0")

    def _instruction(self) -> bytes:
        return self._floating() if self._random.random() < 0.65 else super()._instruction()

    def _floating(self) -> bytes:
        random = self._random
        form = random.choice(self._forms)
        encoding = parse_encoding(form.encoding)
        general = {operand.method for operand in form.operands} & {Method.REGISTER, Method.REGISTER_OR_MEMORY}
        reg = random.choice(encoding.regs) if len(encoding.regs) < 8 else random.randrange(16)
        rm = random.choice(encoding.rms) if len(encoding.rms) < 8 else random.randrange(16)
        if Method.REGISTER in general:
            reg = random.choice(_WRITTEN)
        if Method.REGISTER_OR_MEMORY in general:
            rm = random.choice(_WRITTEN)
        rex = 0x48 if random.random() < 0.3 else 0x40
        tail = b""
        if form.has_modrm:
            is_register = not form.memory_only and random.choice(encoding.mods)
            more, tail = self._register(reg, rm) if is_register else self._memory(reg, random.choice((1, 16, 16)))
            rex |= more
        prefix = bytes((encoding.prefix,)) if encoding.prefix else b""
        immediate = any(operand.method is Method.IMMEDIATE for operand in form.operands)
        body = encoding.escape + bytes((encoding.opcodes[0],)) + tail + (random.randbytes(1) if immediate else b"")
        return prefix + (bytes((rex,)) if rex != 0x40 else b"") + body
