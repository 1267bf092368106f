"""The guest's FP instruction as the host executes it, at another address and on other general registers.

FP registers are the guest's in the host (bt/x86/fp/fp_state.py), all sixteen XMM registers among them. While `fp_ready`
has the bits that an instruction needs, it is simply executed; where it has not, the interpreter does it.
"""

from __future__ import annotations

from functools import cache

from bt.engine.identity.long.decoded import Essence, LongDecoded
from bt.engine.identity.long.encoding import (
    HOST,
    RESIDENT,
    S0,
    S1,
    Address,
    NotEncodable,
    constant,
    gpr,
    instruction,
    load,
    slot,
    store,
)
from bt.engine.identity.long.integer import Access, address_parts
from bt.engine.reencode.floating import fp_shape
from bt.engine.reencode.forms import FIELD_GPR, FIELD_GPR_WIDE, FIELD_LOW, FIELD_RECORD, Inline, fp_form_fields, inline
from bt.engine.reencode.integer import NotEncodable as NotAlike
from bt.x86 import state
from bt.x86.opcodes import FORMS, Form
from bt.x86.opcodes.fp import fp_use
from bt.x86.state import CS

_WIDE_BITS = 64


@cache
def is_inline(form: Form) -> bool:
    """Whether it is executed as itself, or is nothing."""
    return inline(form) in (Inline.EXECUTE, Inline.NOTHING)


def needs(i: Essence) -> int:
    """The READY_* bits that must be set for it."""
    return fp_form_fields(i.its_form, i.is_memory)["ready"]


def notes_pointers(i: Essence) -> bool:
    """Whether it becomes the last x87 instruction that FNSTENV shows."""
    return is_inline(i.its_form) and bool(fp_form_fields(i.its_form, i.is_memory)["pointers"])


@cache
def fp_access_of(number: int, wide: bool) -> Access:
    """What a form accesses with its memory operand; `wide`: the operand size is 64 bits."""
    form = FORMS[number]
    use = fp_use(form, memory=True, wide=wide)
    return Access(use.memory, bool(fp_form_fields(form, True)["store"]), use.aligned)


def encode_fp(i: LongDecoded, where: Address) -> bytes:
    """The instruction, its memory operand at `where`. Resident registers pass through r11. No other code changes flags.
    Raises NotEncodable."""
    if inline(i.its_form) is Inline.NOTHING:
        return b""
    try:
        shape = fp_shape(i.form, i.is_memory)
    except NotAlike as why:
        raise NotEncodable(str(why)) from None
    wide = i.operand_size == _WIDE_BITS and FIELD_GPR_WIDE in (shape.reg, shape.rm)
    if "lengths" in i.its_form.meaning:
        wide = i.operand_size == _WIDE_BITS
    before = after = b""
    use = fp_use(i.its_form, i.is_memory)

    def number_of(role: int, number: int) -> int:
        if role in (FIELD_GPR, FIELD_GPR_WIDE):
            return general(number)
        return number if role == FIELD_RECORD else number & 7 if role == FIELD_LOW else role

    def general(number: int) -> int:
        nonlocal before, after
        if number not in RESIDENT:
            return HOST[number]
        if use.gpr_written:
            after = store(gpr(number), S1)
        else:
            before = load(S1, gpr(number))
        return S1

    if not shape.modrm:
        return shape.prefix + shape.opcode
    reg = number_of(shape.reg, i.reg_number)
    rm: int | Address = where if i.is_memory else number_of(shape.rm, i.rm_number)
    code = instruction(shape.opcode, reg, rm, wide=wide, prefix=shape.prefix)
    return before + code + (bytes((i.immediate & 0xFF,)) if shape.immediate else b"") + after


def note_instruction(i: LongDecoded) -> bytes:
    """What FNSTENV shows of the last x87 instruction; r10 goes."""
    return constant(S0, i.eip) + store(slot("fpu_ip"), S0) + _note_selector(CS, "fpu_cs")


def note_operand(i: LongDecoded) -> bytes:
    """And of the last that had a memory operand; r10 and flags go."""
    return b"".join(address_parts(i)) + store(slot("fpu_dp"), S0) + _note_selector(i.segment, "fpu_ds")


def _note_selector(segment: int, name: str) -> bytes:
    return load(S0, Address(slot(name).base, state.segment_offset(segment, "selector"))) + store(slot(name), S0)
