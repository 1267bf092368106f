"""What is known about one encoded instruction, its memory operand and the memory around it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from bt.x86.opcodes import Form, Width


@dataclass(frozen=True)
class Where:
    """A window of memory, which is part of every record: what an instruction accesses lies in it."""

    window: int
    window_bytes: int
    marker: int  # behind it, a byte for code that looks at flags
    alignment: int = 1
    operand: int | None = None  # offset of the memory operand, if that must be a certain one
    pads: tuple[int, ...] = ()  # addresses that branches may go to

    @property
    def middle(self) -> int:
        """Where ESP points for those that use the stack."""
        return self.window + self.window_bytes // 2

    def pick(self, random: Random, size: int) -> int:
        """An address for an operand of `size` bytes."""
        if self.operand is not None:
            return self.window + self.operand
        return self.window + random.randrange(0, self.window_bytes - size + 1, self.alignment)


@dataclass(frozen=True)
class Address:
    """An addressing mode: [base + index * scale + displacement]."""

    base: int | None
    index: int | None
    scale: int
    displacement: int
    bits: int
    value: int = 0  # of index, or of base, where one register decides alone


@dataclass(frozen=True)
class Variant:
    """An instruction's bytes, and what must be known about them to give it operands.

    `head` runs before it and leaves lazy flags behind, `tail` after it and looks at its flags.
    """

    form: Form
    code: bytes
    operand_bits: int
    address_bits: int
    repeated: bool
    address: Address | None  # through ModRM
    operand: int | None  # where the memory operand is
    reg: int
    rm: int  # of ModRM with mod 3, or in the opcode
    immediate: int  # its last byte
    head: bytes
    tail: bytes

    @property
    def width(self) -> int:
        """Bits of the first operand."""
        width = self.form.operands[0].width if self.form.operands else Width.V
        return {Width.B: 8, Width.W: 16, Width.D: 32, Width.Y: 32}.get(width, self.operand_bits)
