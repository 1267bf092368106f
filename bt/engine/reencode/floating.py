"""Re-encoding, in Python: the guest's FP instruction as the host executes it, for units of tier 2.

As encode.py does it natively for tier 1, from the same table; the memory operand is as integer instructions have it, or
at a host register where the guest's address is.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.forms import FIELD_GPR, FIELD_GPR_WIDE, FIELD_RECORD, Inline, fp_form_fields
from bt.engine.reencode.integer import IntegerEncoder, NotEncodable
from bt.x86.opcodes import FORMS
from bt.x86.opcodes.encoding import OPCODE_MAPS, parse_encoding

_REGISTER = 0xC0


class FpShape(NamedTuple):
    """What of a form's encoding does not depend on the instruction."""

    prefix: bytes  # mandatory
    opcode: bytes  # escape included
    reg: int  # ModRM.reg: 0-7 this, else FIELD_*
    rm: int  # and ModRM.rm when it names a register
    modrm: bool
    immediate: bool


@cache
def fp_shape(number: int, memory: bool) -> FpShape:
    """Of a form that is executed as itself (`Inline.EXECUTE`). Raises NotEncodable."""
    form = FORMS[number]
    fields = fp_form_fields(form, memory)
    if not fields or fields["inline"] != Inline.EXECUTE:
        raise NotEncodable(form.name)
    opcode, reg = fields["opcode"], fields["reg"]
    if fields["condition"]:  # the table has what is left of it once the condition is known
        encoding = parse_encoding(form.encoding)
        opcode, reg = encoding.opcodes[0], encoding.regs[0]
    return FpShape(
        bytes((fields["prefix"],)) if fields["prefix"] else b"",
        OPCODE_MAPS[fields["escape"]].escape + bytes((opcode,)),
        reg,
        fields["rm"],
        bool(fields["modrm"]),
        bool(fields["immediate"]),
    )


def encode_floating(i: Decoded, integers: IntegerEncoder, base: int | None = None) -> bytes:
    """Host bytes of one instruction that is executed as itself (`Inline.EXECUTE`). `base`: a host register that has the
    address of its memory operand. Raises NotEncodable."""
    shape = fp_shape(i.form, i.is_memory)
    reg = _number(shape.reg, i.reg_number, integers)
    if i.is_memory:
        prefixes, rex, address = integers.operand(reg, i) if base is None else integers.operand_at(reg, base)
    else:
        rm = _number(shape.rm, i.rm_number, integers)
        prefixes, rex = b"", integers.rex(reg, rm)
        address = bytes((_REGISTER | (reg & 7) << 3 | rm & 7,))
    tail = (address if shape.modrm else b"") + (bytes((i.immediate & 0xFF,)) if shape.immediate else b"")
    return prefixes + shape.prefix + rex + shape.opcode + tail


def _number(role: int, number: int, integers: IntegerEncoder) -> int:
    """What goes into a field of ModRM, bit 3 (for REX) included."""
    if role < FIELD_RECORD:
        return role
    return integers.host(number) if role in (FIELD_GPR, FIELD_GPR_WIDE) else number
