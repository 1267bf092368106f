"""What decoding must know of each form, derived from the opcode table: an array of SHAPE structures."""

from __future__ import annotations

from itertools import product

from bt.engine.structures import (
    IMMEDIATE_BYTE,
    IMMEDIATE_ENTER,
    IMMEDIATE_FAR,
    IMMEDIATE_FULL,
    IMMEDIATE_JUMP,
    IMMEDIATE_JUMP_BYTE,
    IMMEDIATE_NONE,
    IMMEDIATE_OFFSET,
    IMMEDIATE_SIGNED_BYTE,
    IMMEDIATE_WHOLE,
    IMMEDIATE_WORD,
    SHAPE,
    SHAPE_BYTES,
    SHAPE_DEFAULT_64,
    SHAPE_ENDS,
    SHAPE_FORCED_64,
    SHAPE_LOCK,
    SHAPE_MODRM,
    SHAPE_OPCODE_REGISTER,
    SHAPE_REGISTER_RM,
    SHAPE_REP,
)
from bt.x86.opcodes import FORMS, UNDEFINED, Form, Method, Width, undefined_form
from bt.x86.opcodes.encoding import OPCODE_MAPS

_IMMEDIATES = {
    (Method.IMMEDIATE, Width.B): IMMEDIATE_BYTE,
    (Method.IMMEDIATE, Width.W): IMMEDIATE_WORD,
    (Method.IMMEDIATE, Width.Z): IMMEDIATE_FULL,
    (Method.IMMEDIATE, Width.V): IMMEDIATE_WHOLE,
    (Method.IMMEDIATE, Width.BS): IMMEDIATE_SIGNED_BYTE,
    (Method.RELATIVE, Width.B): IMMEDIATE_JUMP_BYTE,
    (Method.RELATIVE, Width.Z): IMMEDIATE_JUMP,
}


def _immediate(form: Form) -> int:
    kinds = []
    for operand in form.operands:
        match operand.method:
            case Method.FAR_POINTER:
                kinds.append(IMMEDIATE_FAR)
            case Method.OFFSET:
                kinds.append(IMMEDIATE_OFFSET)
            case Method.IMMEDIATE | Method.RELATIVE:
                kinds.append(_IMMEDIATES[operand.method, operand.width])
    if kinds == [IMMEDIATE_WORD, IMMEDIATE_BYTE]:
        return IMMEDIATE_ENTER
    assert len(kinds) < 2, f"{form!r}: two immediates"
    return kinds[0] if kinds else IMMEDIATE_NONE


def immediate_field(form: Form, place: int) -> str:
    """The field of a RECORD that an immediate operand is in."""
    earlier = any(operand.method is Method.IMMEDIATE for operand in form.operands[:place])
    return "immediate2" if earlier else "immediate"


def _flags(form: Form) -> int:
    methods = {o.method for o in form.operands}
    flags = SHAPE_MODRM * (form is not UNDEFINED and form.has_modrm)
    flags |= SHAPE_ENDS * form.ends_block | SHAPE_LOCK * form.lock | SHAPE_REP * (form.rep is not None)
    flags |= SHAPE_OPCODE_REGISTER * (Method.OPCODE_REGISTER in methods)
    flags |= SHAPE_DEFAULT_64 * (form.long == "default 64") | SHAPE_FORCED_64 * (form.long == "forced 64")
    return flags | SHAPE_REGISTER_RM * (Method.REGISTER_RM in methods)


def _is_byte(form: Form, *methods: Method) -> bool:
    return any(o.method in methods and o.width is Width.B for o in form.operands)


def shape_table() -> bytes:
    """One SHAPE a form, in the order of form ids; then one for each opcode's undefined encodings, map << 8 | opcode."""
    opcodes = product(range(len(OPCODE_MAPS)), range(256))
    forms = (*FORMS, *(undefined_form(opcode_map, opcode) for opcode_map, opcode in opcodes))
    table = bytearray(SHAPE_BYTES * len(forms))
    for number, form in enumerate(forms):
        at = SHAPE_BYTES * number
        table[at + SHAPE.offsets["flags"]] = _flags(form)
        table[at + SHAPE.offsets["condition"]] = form.condition or 0
        table[at + SHAPE.offsets["immediate"]] = _immediate(form)
        table[at + SHAPE.offsets["reg_byte"]] = _is_byte(form, Method.REGISTER)
        table[at + SHAPE.offsets["rm_byte"]] = _is_byte(form, Method.REGISTER_OR_MEMORY, Method.OPCODE_REGISTER)
    return bytes(table)
