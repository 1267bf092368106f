"""Re-encoding, in Python: the guest's FP instruction as the host executes it, for units of tier 2.

As encode.py does it natively for tier 1, from the same table; the memory operand is as integer instructions have it, or
at a host register where the guest's address is.
"""

from __future__ import annotations

from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.forms import FIELD_GPR, FIELD_GPR_WIDE, FIELD_RECORD, Inline, fp_form_fields
from bt.engine.reencode.integer import IntegerEncoder, NotEncodable
from bt.x86.opcodes import FORMS
from bt.x86.opcodes.encoding import OPCODE_MAPS, parse_encoding

_REGISTER = 0xC0


def encode_floating(i: Decoded, integers: IntegerEncoder, base: int | None = None) -> bytes:
    """Host bytes of one instruction that is executed as itself (`Inline.EXECUTE`). `base`: a host register that has the
    address of its memory operand. Raises NotEncodable."""
    form = FORMS[i.form]
    fields = fp_form_fields(form, i.is_memory)
    if not fields or fields["inline"] != Inline.EXECUTE:
        raise NotEncodable(form.name)
    reg = _number(fields["reg"], i.reg_number, integers)
    opcode = fields["opcode"]
    if fields["condition"]:  # the table has what is left of it once the condition is known
        encoding = parse_encoding(form.encoding)
        opcode, reg = encoding.opcodes[0], encoding.regs[0]
    if i.is_memory:
        prefixes, rex, address = integers.operand(reg, i) if base is None else integers.operand_at(reg, base)
    else:
        rm = _number(fields["rm"], i.rm_number, integers)
        prefixes, rex = b"", integers.rex(reg, rm)
        address = bytes((_REGISTER | (reg & 7) << 3 | rm & 7,))
    mandatory = bytes((fields["prefix"],)) if fields["prefix"] else b""
    escape = OPCODE_MAPS[fields["escape"]].escape
    tail = (address if fields["modrm"] else b"") + (bytes((i.immediate & 0xFF,)) if fields["immediate"] else b"")
    return prefixes + mandatory + rex + escape + bytes((opcode,)) + tail


def _number(role: int, number: int, integers: IntegerEncoder) -> int:
    """What goes into a field of ModRM, bit 3 (for REX) included."""
    if role < FIELD_RECORD:
        return role
    return integers.host(number) if role in (FIELD_GPR, FIELD_GPR_WIDE) else number
