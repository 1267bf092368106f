"""Instructions of a case as the opcode table sees them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import capstone

from bt.x86 import cpu_model
from bt.x86.opcodes import PREFIXES, UNDEFINED, Form, lookup
from bt.x86.opcodes.encoding import opcode_of
from tests.cases.model import Case

_ESCAPE = 0x0F
_OPERAND_SIZE = 0x66
_REPEATS = (0xF2, 0xF3)


def split(code: bytes) -> tuple[bytes, bytes]:
    """The prefixes that `code` begins with, and the rest."""
    length = next((i for i, byte in enumerate(code) if byte not in PREFIXES or byte == _ESCAPE), len(code))
    return code[:length], code[length:]


def form_of(code: bytes) -> Form:
    """The form of the instruction that `code` begins with; UNDEFINED where nothing but prefixes is left."""
    prefixes, rest = split(code)
    opcode_map, at = opcode_of(rest)
    if len(rest) <= at:
        return UNDEFINED
    repeat = next((byte for byte in reversed(prefixes) if byte in _REPEATS), 0)
    modrm = rest[at + 1] if len(rest) > at + 1 else 0
    return lookup(opcode_map, rest[at], modrm, repeat)


def operand_bits(bits: int, code: bytes, form: Form) -> int:
    """Width in bits of the first operand of the instruction that begins `code`, in a `bits` code segment."""
    width = form.operands[0].width.value
    if width in ("b", "w", "d"):
        return {"b": 8, "w": 16, "d": 32}[width]
    return bits if _OPERAND_SIZE not in split(code)[0] else 48 - bits


@cache
def _disassembler(bits: int) -> capstone.Cs:
    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_16)


def instructions(case: Case) -> Iterator[bytes]:
    """The case's code cut into instructions in order of address, up to one that capstone does not know."""
    for address, size, _, _ in _disassembler(case.bits).disasm_lite(case.code, case.origin):
        yield case.code[address - case.origin : address - case.origin + size]


def beyond_the_processor(case: Case) -> bool:
    """Whether the case has instructions that its processor lacks, and other processors of today do not."""
    model = cpu_model.parse(case.cpu)
    return any(model.lacks(form_of(code).cpuid) for code in instructions(case))
