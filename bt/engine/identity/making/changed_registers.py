"""Which general registers an instruction in a unit may change: of what is put off until they do (see LastX87)."""

from __future__ import annotations

from functools import cache

from bt.engine.reencode.decoded import Decoded
from bt.x86.opcodes import FORMS, Method
from bt.x86.opcodes.fp import fp_use, is_fp
from bt.x86.state import EAX, ECX, ESP

ALL = (1 << 8) - 1
_FIRST_HIGH = 4  # byte registers from here on are parts of the first four
# Meanings that change none, or these; of those in _OPERANDS_ONLY it is their operands. All others may change any.
_THESE = {
    **dict.fromkeys(("arith.cmp", "logic.test", "bits.bt", "move.nop"), 0),
    **dict.fromkeys(("control.jcc", "control.jmp", "control.jcxz"), 0),
    **dict.fromkeys(("flags.clc", "flags.cmc", "flags.stc", "flags.sahf"), 0),
    **dict.fromkeys(("control.loop", "control.loope", "control.loopne"), 1 << ECX),
    **dict.fromkeys(("control.call", "control.ret", "stack.push"), 1 << ESP),
    **dict.fromkeys(("x87.fnstsw", "flags.lahf"), 1 << EAX),
}
_OPERANDS_ONLY = frozenset(
    (
        *(f"arith.{name}" for name in ("add", "adc", "sub", "sbb", "inc", "dec", "neg", "xadd", "imul_truncated")),
        *(f"logic.{name}" for name in ("and_", "or_", "xor", "not_")),
        *(f"shift.{name}" for name in ("shl", "shr", "sar", "rol", "ror", "rcl", "rcr", "shld", "shrd")),
        *(f"move.{name}" for name in ("mov", "movsx", "movzx", "lea", "setcc", "cmovcc", "bswap", "xchg")),
    )
)


@cache
def _fixed(form: int) -> tuple[int, bool, bool]:
    """Registers that a form may change in any case, and whether that in ModRM.reg and that in ModRM.rm are."""
    each = FORMS[form]
    if each.meaning in _THESE:
        return _THESE[each.meaning], False, False
    if is_fp(each):
        use = fp_use(each, memory=False)
        return use.indexes << ECX, use.gpr_written and use.gpr == "reg", use.gpr_written and use.gpr == "rm"
    if each.meaning.startswith("x87."):
        return 0, False, False
    if each.meaning not in _OPERANDS_ONLY:
        return ALL, False, False
    methods = [operand.method for operand in each.operands]
    fixed = sum({1 << operand.number for operand in each.operands if operand.method is Method.FIXED_REGISTER})
    in_rm = Method.REGISTER_OR_MEMORY in methods or Method.OPCODE_REGISTER in methods
    return fixed, Method.REGISTER in methods, in_rm


def changed_registers(i: Decoded) -> int:
    """A bit for each general register that an instruction may change."""
    mask, reg, rm = _fixed(i.form)
    if reg:
        mask |= _named(i.reg_number)
    if rm and not i.is_memory:
        mask |= _named(i.rm_number)
    return mask


def address_registers(i: Decoded) -> int:
    """A bit for each that its memory operand is at."""
    return (1 << i.base_number | 1 << i.index_number) & ALL


def _named(number: int) -> int:
    return 1 << number | 1 << (number & _FIRST_HIGH - 1)
