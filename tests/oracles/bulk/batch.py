"""A table of start states for one variant: general registers and flags, the window of memory, FP registers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from tests.oracles.bulk.variant import Variant, Where

REGISTER_WORDS = 9
"""eflags edi esi ebp esp ebx edx ecx eax: as POPFD and POPAD take them."""
REGISTER_BYTES = 4 * REGISTER_WORDS
FX_BYTES = 288
"""What FXSAVE stores of a 32-bit program's state: control, eight x87 and eight XMM registers."""
_LAST = REGISTER_WORDS - 1


@dataclass
class Batch:
    """`count` records of the variant's operands; columns are set a register at a time."""

    random: Random
    variant: Variant
    where: Where
    extra: int  # bytes behind the window that are compared with it
    count: int
    registers: array[int]
    window: bytearray
    fx: Sequence[bytes]  # an image of FX_BYTES for each record, or nothing

    @property
    def window_bytes(self) -> int:
        """Bytes of memory in a record, a multiple of 4."""
        return self.where.window_bytes + self.extra

    @property
    def record_bytes(self) -> int:
        """Bytes of a record, before and after."""
        return REGISTER_BYTES + self.window_bytes + FX_BYTES * bool(self.fx)

    def get(self, number: int) -> array[int]:
        """Values of a general register, in ModRM numbering."""
        return self.registers[_LAST - number :: REGISTER_WORDS]

    def set(self, number: int, values: Iterable[int]) -> None:
        """Give a general register a value in each record."""
        self.registers[_LAST - number :: REGISTER_WORDS] = array("I", values)

    def set_low(self, number: int, values: Iterable[int]) -> None:
        """The same for its lower 16 bits."""
        old = self.get(number)
        self.set(number, [high & 0xFFFF0000 | value & 0xFFFF for high, value in zip(old, values, strict=True)])

    @property
    def flags(self) -> array[int]:
        """EFLAGS of each record."""
        return self.registers[0::REGISTER_WORDS]

    def set_flags(self, values: Iterable[int]) -> None:
        """Give each record its EFLAGS."""
        self.registers[0::REGISTER_WORDS] = array("I", values)

    def part(self, number: int, width: int) -> list[int]:
        """Values of a register by number and width, AH to BH among the 8-bit ones."""
        if width == 8 and number >= 4:
            return [value >> 8 & 0xFF for value in self.get(number - 4)]
        return [value & (1 << width) - 1 for value in self.get(number)]

    def set_part(self, number: int, width: int, values: Iterable[int]) -> None:
        """Set a register by number and width."""
        shift = 8 if width == 8 and number >= 4 else 0
        number -= 4 if shift else 0
        mask = (1 << width) - 1 << shift
        old = self.get(number)
        self.set(number, [before & ~mask | value << shift & mask for before, value in zip(old, values, strict=True)])

    def operands(self, width: int) -> list[int]:
        """Values of the operand that ModRM.rm or the opcode names, in a register or in memory."""
        if self.variant.operand is None:
            return self.part(self.variant.rm, width)
        return [int.from_bytes(data, "little") for data in self.memory(self.variant.operand, width // 8)]

    def set_operands(self, width: int, values: Iterable[int]) -> None:
        """Set that operand."""
        if self.variant.operand is None:
            self.set_part(self.variant.rm, width, values)
        else:
            mask, size = (1 << width) - 1, width // 8
            self.patch(self.variant.operand, [(value & mask).to_bytes(size, "little") for value in values])

    def memory(self, address: int, size: int) -> list[bytes]:
        """Bytes of the window in each record."""
        start = address - self.where.window
        places = range(start, start + self.count * self.window_bytes, self.window_bytes)
        return [bytes(self.window[place : place + size]) for place in places]

    def patch(self, address: int, contents: Iterable[bytes]) -> None:
        """Set bytes of the window in each record."""
        place = address - self.where.window
        for data in contents:
            self.window[place : place + len(data)] = data
            place += self.window_bytes

    def choose(self, values: Sequence[int]) -> list[int]:
        """One of the values for each record."""
        return self.random.choices(values, k=self.count)

    def table(self) -> bytes:
        """All records."""
        size, general = self.window_bytes, self.registers.tobytes()
        rows = range(self.count)
        registers = [general[REGISTER_BYTES * row : REGISTER_BYTES * (row + 1)] for row in rows]
        windows = [bytes(self.window[size * row : size * (row + 1)]) for row in rows]
        parts = zip(registers, windows, self.fx, strict=True) if self.fx else zip(registers, windows, strict=True)
        return b"".join(b"".join(record) for record in parts)
