"""Where a 286 and the processors after it differ: which vectors are left out or compared in part, and why.

What an instruction leaves undefined is not here but in the opcode table (`undefines`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bt.x86.context import GP, UD
from bt.x86.opcodes import Form, lookup, needs_modrm
from bt.x86.state import SS
from tests.vectors.vectors import Vector

LOCK = 0xF0
PREFIXES = {0x26: 0, 0x2E: 1, 0x36: 2, 0x3E: 3, LOCK: None, 0xF2: None, 0xF3: None}
"""Prefix bytes of a 286, and the segment that an override names."""


@dataclass(frozen=True)
class Encoding:
    """The parts of a vector's code that the rules below ask for."""

    prefixes: bytes
    opcode: int
    modrm: int
    length: int  # bytes

    @classmethod
    def of(cls, vector: Vector) -> Encoding:
        code = vector.code[:-1]  # without the HLT
        at = next(at for at, byte in enumerate(code) if byte not in PREFIXES)
        return cls(code[:at], code[at], code[at + 1] if at + 1 < len(code) else 0, len(code))

    @property
    def form(self) -> Form:
        return lookup(0, self.opcode, self.modrm if needs_modrm(0, self.opcode) else 0)

    @property
    def names_memory(self) -> bool:
        return self.form.has_modrm and self.modrm < 0xC0

    @property
    def segment(self) -> int | None:
        """Segment of the ModRM operand or the stack; None for other instructions."""
        overrides = [PREFIXES[byte] for byte in self.prefixes if PREFIXES[byte] is not None]
        if not self.names_memory:
            return SS if self.form.rep is None else None
        if overrides:
            return overrides[-1]
        based_on_bp = self.modrm & 7 in (2, 3) or (self.modrm & 7 == 6 and self.modrm >= 0x40)
        return SS if based_on_bp else None


@dataclass(frozen=True)
class Rule:
    """Vectors that differ: `skip` leaves them out, else `registers` and `vector` say what is different about them."""

    key: str  # as the report has it
    reason: str
    applies: Callable[[Vector, Encoding], bool]
    skip: bool = True
    registers: tuple[str, ...] = ()  # not compared
    vector: int | None = None  # of the exception, in place of the recorded one
    sampled: bool = True  # False: only files of the whole set that the sample leaves out have such vectors


def _lock_is_illegal(vector: Vector, encoding: Encoding) -> bool:
    allowed = encoding.form.lock and encoding.names_memory
    return LOCK in encoding.prefixes and not allowed and vector.exception != UD


def _is_string_fault(vector: Vector, encoding: Encoding) -> bool:
    return vector.exception == GP and encoding.form.rep is not None


def _is_stack_fault(vector: Vector, encoding: Encoding) -> bool:
    return vector.exception == GP and encoding.segment == SS


def _is_idiv_beyond_a_byte(vector: Vector, encoding: Encoding) -> bool:
    """IDIV of AX by a byte without an exception, whose quotient and remainder are those of no divisor at all."""
    if encoding.opcode != 0xF6 or encoding.modrm >> 3 & 7 != 7 or vector.exception is not None:
        return False
    dividend, result = _signed(vector.initial["ax"], 16), vector.final["ax"]
    quotient, remainder = _signed(result, 8), _signed(result >> 8, 8)
    return not any(
        dividend == quotient * divisor + remainder and abs(remainder) < abs(divisor) and dividend * remainder >= 0
        for divisor in range(-0x80, 0x80)
    )


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (value >> (bits - 1) << bits)


RULES = (
    Rule(
        "lock",
        "a 286 takes LOCK with every instruction; since the 386 it is #UD but for certain writes (SDM vol. 2, LOCK)",
        _lock_is_illegal,
    ),
    Rule(
        "length",
        "a 286 refuses instructions of more than 10 bytes; since the 386 the limit is 15 (SDM vol. 2 2.3.11)",
        lambda vector, encoding: encoding.length > 10,
    ),
    Rule(
        "fs gs",
        "MOV of segment registers 4 and 5 is #UD on a 286; since the 386 they are FS and GS",
        lambda vector, encoding: encoding.opcode in (0x8C, 0x8E) and encoding.modrm >> 3 & 7 in (4, 5),
    ),
    Rule(
        "string",
        "when an element is beyond the segment a 286 has moved SI, DI and CX already; later processors restart the "
        "instruction (SDM vol. 3A 6.6)",
        _is_string_fault,
        skip=False,
        registers=("si", "di", "cx"),
    ),
    Rule(
        "stack",
        "beyond the end of the stack segment is exception 13 on a 286, 12 since the 386 (SDM vol. 3A 6.15)",
        _is_stack_fault,
        skip=False,
        vector=12,
    ),
    Rule(
        "idiv",
        "one recording of IDIV of a byte has a quotient beyond a byte and no exception; it is #DE (SDM vol. 2 IDIV)",
        _is_idiv_beyond_a_byte,
        sampled=False,
    ),
)


def rule_for(vector: Vector) -> Rule | None:
    """The rule that applies to a vector, if any."""
    encoding = Encoding.of(vector)
    return next((rule for rule in RULES if rule.applies(vector, encoding)), None)


def adapted(vector: Vector, rule: Rule) -> Vector:
    """The vector as later processors would have it. Not for rules that skip."""
    if rule.vector is not None:
        vector = vector.redirected(rule.vector)
    return replace(vector, ignored=rule.registers)
