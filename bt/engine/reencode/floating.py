"""Re-encoding, in Python: the guest's SSE instruction as the host executes it, for units of tier 2.

As encode.py does it natively for tier 1, from the same table; the memory operand is as integer instructions have it.
"""

from __future__ import annotations

from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.forms import FIELD_GPR, FIELD_RECORD, Inline, fp_form_fields
from bt.engine.reencode.integer import IntegerEncoder, NotEncodable
from bt.x86.opcodes import FORMS
from bt.x86.opcodes.fp import READY_SSE

_ESCAPE, _REGISTER = 0x0F, 0xC0


def encode_sse(i: Decoded, integers: IntegerEncoder) -> bytes:
    """Host bytes of one instruction on XMM registers. Raises NotEncodable for x87 and MMX, whose last instruction
    leaves its address behind, and for what is not itself."""
    fields = fp_form_fields(FORMS[i.form], i.is_memory)
    if not fields or fields["inline"] != Inline.EXECUTE or fields["ready"] != READY_SSE or fields["pointers"]:
        raise NotEncodable("no plain SSE instruction")
    reg = _number(fields["reg"], i.reg_number, integers)
    if i.is_memory:
        prefixes, rex, address = integers.operand(reg, i)
    else:
        rm = _number(fields["rm"], i.rm_number, integers)
        prefixes, rex = b"", integers.rex(reg, rm)
        address = bytes((_REGISTER | (reg & 7) << 3 | rm & 7,))
    mandatory = bytes((fields["prefix"],)) if fields["prefix"] else b""
    escape = bytes((_ESCAPE,)) if fields["escape"] else b""
    immediate = bytes((i.immediate & 0xFF,)) if fields["immediate"] else b""
    return prefixes + mandatory + rex + escape + bytes((fields["opcode"],)) + address + immediate


def _number(role: int, number: int, integers: IntegerEncoder) -> int:
    """What goes into a field of ModRM, bit 3 (for REX) included."""
    if role < FIELD_RECORD:
        return role
    return integers.host(number) if role == FIELD_GPR else number
