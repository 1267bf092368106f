"""Which EFLAGS bits a case leaves undefined, by the opcode table: those are not compared."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import capstone

from bt.x86.opcodes import PREFIXES, Form, Method, eflags_mask, lookup
from tests.cases.model import Case

_REPEAT = (0xF2, 0xF3)
_SHIFTS_PAST_SIZE = frozenset({"shl", "shr"})
_COUNTED = frozenset({"rol", "ror", "rcl", "rcr", "shl", "shr", "sar", "shld", "shrd"})


def form_of(code: bytes) -> Form:
    """The form of the instruction that `code` begins with: prefixes, opcode, ModRM where there is one."""
    prefix, position = 0, 0
    while code[position] in PREFIXES and code[position] != 0x0F:
        if code[position] in _REPEAT:
            prefix = code[position]
        position += 1
    opcode_map = int(code[position] == 0x0F)
    rest = code[position + opcode_map :] + b"\0\0"
    return lookup(opcode_map, rest[0], rest[1], prefix)


@cache
def _disassembler(bits: int) -> capstone.Cs:
    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32 if bits == 32 else capstone.CS_MODE_16)


def instructions(case: Case) -> Iterator[bytes]:
    """The case's code cut into instructions in order of address, up to one that capstone does not know."""
    for address, size, _, _ in _disassembler(case.bits).disasm_lite(case.code, case.origin):
        yield case.code[address - case.origin : address - case.origin + size]


def undefined_flags(case: Case) -> int:
    """EFLAGS bits undefined after the case's instructions, run in order of address.

    Where the case is a single shift or rotate its count is known, and OF is defined for one bit, everything for none.
    """
    codes = list(instructions(case))
    if len(codes) == 1:
        return _undefined_by_one(case, codes[0])
    undefined = 0
    for code in codes:
        form = form_of(code)
        if not form.may_keep_flags and not form.rep:
            undefined &= ~eflags_mask(form.writes)
        undefined |= eflags_mask(form.undefines)
    return undefined


def _undefined_by_one(case: Case, code: bytes) -> int:
    form = form_of(code)
    undefined = eflags_mask(form.undefines)
    if form.name not in _COUNTED:
        return undefined
    if form.operands[-1].method is Method.IMMEDIATE:
        count = code[-1] & 31
    elif form.operands[-1].method is Method.ONE:
        count = 1
    else:
        count = case.start.registers[1] & 31
    if count == 0:
        return 0
    if count == 1:
        undefined &= ~eflags_mask("o")
    if count >= operand_bits(case.bits, code, form) and form.name in _SHIFTS_PAST_SIZE:
        undefined |= eflags_mask("c")
    return undefined


def operand_bits(bits: int, code: bytes, form: Form) -> int:
    """Width in bits of the first operand of one instruction of a `bits` code segment."""
    width = form.operands[0].width.value
    if width in ("b", "w", "d"):
        return {"b": 8, "w": 16, "d": 32}[width]
    prefixes = code[: next(i for i, byte in enumerate(code) if byte not in PREFIXES or byte == 0x0F)]
    return bits if 0x66 not in prefixes else 48 - bits
