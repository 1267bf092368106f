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
_REX, _REX_W = 0x40, 8
_REPEATS = (0xF2, 0xF3)


def split(code: bytes, bits: int = 32) -> tuple[bytes, bytes]:
    """The prefixes that `code` begins with, REX in 64-bit code among them, and the rest."""

    def is_prefix(byte: int) -> bool:
        return (byte in PREFIXES and byte != _ESCAPE) or (bits == 64 and byte & 0xF0 == _REX)

    length = next((i for i, byte in enumerate(code) if not is_prefix(byte)), len(code))
    return code[:length], code[length:]


def form_of(code: bytes, bits: int = 32) -> Form:
    """The form of the instruction that `code` begins with; UNDEFINED where nothing but prefixes is left."""
    prefixes, rest = split(code, bits)
    opcode_map, at = opcode_of(rest)
    if len(rest) <= at:
        return UNDEFINED
    repeat = next((byte for byte in reversed(prefixes) if byte in _REPEATS), 0)
    modrm = rest[at + 1] if len(rest) > at + 1 else 0
    prefix = repeat or (_OPERAND_SIZE if _OPERAND_SIZE in prefixes else 0)
    return lookup(opcode_map, rest[at], modrm, prefix, long=bits == 64)


def operand_bits(bits: int, code: bytes, form: Form) -> int:
    """Width in bits of the first operand of the instruction that begins `code`, in a `bits` code segment."""
    width = form.operands[0].width.value
    if width in ("b", "w", "d"):
        return {"b": 8, "w": 16, "d": 32}[width]
    prefixes = split(code, bits)[0]
    if bits == 64:
        wide = prefixes and prefixes[-1] & 0xF8 == _REX | _REX_W
        return 64 if wide else 16 if _OPERAND_SIZE in prefixes else 32
    return bits if _OPERAND_SIZE not in prefixes else 48 - bits


@cache
def _disassembler(bits: int) -> capstone.Cs:
    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    return capstone.Cs(capstone.CS_ARCH_X86, modes[bits])


def instructions(case: Case) -> Iterator[bytes]:
    """The case's code cut into instructions in order of address, up to one that capstone does not know."""
    for address, size, _, _ in _disassembler(case.bits).disasm_lite(case.code, case.origin):
        yield case.code[address - case.origin : address - case.origin + size]


def beyond_the_processor(case: Case) -> bool:
    """Whether the case has instructions that its processor lacks, and other processors of today do not."""
    model = cpu_model.parse(case.cpu)
    return any(model.lacks(form_of(code, case.bits).cpuid) for code in instructions(case))
