"""Random instructions of any form of the opcode table, for code of either size."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from random import Random

from bt.x86.opcodes import PLAIN_FORMS, Form, InstructionClass, Method, Width
from bt.x86.opcodes.encoding import Encoding, parse_encoding
from bt.x86.opcodes.fp import is_fp
from tests.robustness.fuzz import world
from tests.robustness.fuzz.operands import some_address, some_value

OPERAND_SIZE, ADDRESS_SIZE, LOCK, REPNE, REP = 0x66, 0x67, 0xF0, 0xF2, 0xF3
OVERRIDES = (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65)
_ABSOLUTE_16, _SIB, _NO_BASE = 6, 4, 5
_SHORT_DISTANCES = (0, 1, 2, 5, 0x1E, 0x20, 0x3E, 0x60, -0x20, -0x40)
_FAMILY_WEIGHTS = {"integer": 45, "control": 12, "fp": 22, "system": 21}


@dataclass(frozen=True)
class Choice:
    """A form with its encoding taken apart."""

    form: Form
    encoding: Encoding

    @property
    def family(self) -> str:
        """Which of the families with a weight of their own."""
        form = self.form
        if is_fp(form) or form.meaning.startswith(("x87.", "sse.")):
            return "fp"
        if form.cls is InstructionClass.CONTROL:
            return "control"
        return "integer" if form.cls in (InstructionClass.IDENTITY, InstructionClass.MEMORY) else "system"


@cache
def choices() -> tuple[Choice, ...]:
    """All forms, the privileged and the far ones too; the place is the form's number less one."""
    return tuple(Choice(form, parse_encoding(form.encoding)) for form in PLAIN_FORMS)


@cache
def _families() -> dict[str, tuple[Choice, ...]]:
    return {name: tuple(c for c in choices() if c.family == name) for name in _FAMILY_WEIGHTS}


class Instructions:
    """Makes instructions for code of `bits`. `wanted`: numbers of forms to prefer now and then."""

    def __init__(self, random: Random, bits: int, wanted: tuple[int, ...] = ()) -> None:
        self.random, self.bits, self.wanted = random, bits, wanted

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def any(self) -> bytes:
        """An instruction of any form."""
        if self.wanted and self.chance(0.15):
            return self.of(choices()[self.random.choice(self.wanted) - 1])
        if self.chance(0.1):
            return self.of(self.random.choice(choices()))
        family = self.random.choices(list(_FAMILY_WEIGHTS), list(_FAMILY_WEIGHTS.values()))[0]
        return self.of_family(family)

    def of_family(self, family: str) -> bytes:
        return self.of(self.random.choice(_families()[family]))

    def of(self, choice: Choice) -> bytes:
        """An instruction of one form: prefixes in any order, any shape of ModRM and SIB, difficult immediates."""
        form, encoding, random = choice.form, choice.encoding, self.random
        prefixes = [encoding.prefix] if encoding.prefix else []
        chosen = form.chosen_by_prefix
        if self.chance(0.02 if chosen else 0.15):
            prefixes.append(OPERAND_SIZE)
        if self.chance(0.07):
            prefixes.append(ADDRESS_SIZE)
        if self.chance(0.08):
            prefixes.append(random.choice(OVERRIDES))
        if self.chance(0.25 if form.lock else 0.02):
            prefixes.append(LOCK)
        if self.chance(0.5 if form.rep else 0.005 if chosen else 0.03):
            prefixes.append(random.choice((REPNE, REP)))
        if self.chance(0.03):
            prefixes.append(random.choice((OPERAND_SIZE, ADDRESS_SIZE, *OVERRIDES)))
        random.shuffle(prefixes)
        operand_bytes = 4 if (self.bits == 32) != (OPERAND_SIZE in prefixes) else 2
        address_bits = 32 if (self.bits == 32) != (ADDRESS_SIZE in prefixes) else 16
        code = bytes(prefixes) + encoding.escape + bytes([random.choice(encoding.opcodes)])
        if encoding.modrm:
            shapes = [register for register in encoding.mods if not (register and form.memory_only)]
            register = shapes[0] if len(shapes) == 1 else self.chance(0.35)
            reg = random.choice(encoding.regs)
            if register:
                code += bytes([0xC0 | reg << 3 | random.choice(encoding.rms)])
            else:
                code += self.memory(reg, address_bits)
        return code + self._immediates(form, operand_bytes, address_bits)

    def memory(self, reg: int, address_bits: int) -> bytes:
        """ModRM, SIB and displacement of a memory operand."""
        random = self.random
        middle = reg << 3
        if address_bits == 16:
            if self.chance(0.4):
                return bytes([middle | _ABSOLUTE_16]) + struct.pack("<H", some_address(random, 16))
            mod, rm = random.randrange(3), random.randrange(8)
            if mod == 0 and rm == _ABSOLUTE_16:
                mod = 1
            small = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
            large = some_address(random, 16) if self.chance(0.5) else random.getrandbits(16)
            return bytes([mod << 6 | middle | rm]) + (b"", bytes([small]), struct.pack("<H", large))[mod]
        if self.chance(0.35):
            return bytes([middle | _NO_BASE]) + struct.pack("<I", some_address(random, 32))
        mod, rm = random.choice((0, 1, 1, 2)), random.randrange(8)
        if rm == _SIB and self.chance(0.5):
            rm = random.choice((3, 5, 6, 7))
        code, base = bytes([mod << 6 | middle | rm]), rm
        if rm == _SIB:
            base = random.randrange(8)
            code += bytes([random.randrange(4) << 6 | random.randrange(8) << 3 | base])
        if mod == 1:
            return code + bytes([random.choice((0, 1, 4, 0x10, 0x7F, 0x80, 0xFF, random.randrange(256)))])
        if mod == 2 or base == _NO_BASE:
            near = random.randrange(-0x200, 0x200) & 0xFFFFFFFF
            return code + struct.pack("<I", some_address(random, 32) if self.chance(0.3) else near)
        return code

    def _immediates(self, form: Form, operand_bytes: int, address_bits: int) -> bytes:
        code = b""
        for operand in form.operands:
            match operand.method:
                case Method.OFFSET:
                    size = address_bits // 8
                    code += some_address(self.random, address_bits).to_bytes(size, "little")
                case Method.FAR_POINTER:
                    code += self.far_pointer(operand_bytes)
                case Method.RELATIVE:
                    code += self.relative(1 if operand.width is Width.B else operand_bytes)
                case Method.IMMEDIATE:
                    size = {Width.B: 1, Width.BS: 1, Width.W: 2}.get(operand.width, operand_bytes)
                    value = self.random.randrange(64) if operand.width is Width.W else some_value(self.random)
                    code += (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        return code

    def far_pointer(self, offset_bytes: int) -> bytes:
        """A slot, and some selector."""
        offset = world.slot_address(self.random).to_bytes(offset_bytes, "little")
        return offset + struct.pack("<H", self.selector())

    def selector(self) -> int:
        """One of the world's, with any RPL; rarely any number."""
        if self.chance(0.03):
            return self.random.getrandbits(16)
        selector: int = self.random.choice(world.SELECTORS)
        return selector & ~3 | self.random.choice((0, 0, 1, 2, 3, 3))

    def relative(self, size: int) -> bytes:
        """A displacement by some slots, as far as the size allows."""
        if size == 1:
            distance = self.random.choice(
                (0, 1, 2, 5, 0x1E, 0x20, 0x3E, 0x60, -0x20, -0x40, self.random.randrange(-128, 128))
            )
        else:
            distance = world.SLOT_BYTES * self.random.randrange(-40, 60) - self.random.randrange(32)
        return (distance & (1 << 8 * size) - 1).to_bytes(size, "little")
