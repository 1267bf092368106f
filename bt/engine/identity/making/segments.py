"""Memory operands in FS and GS, whose bases are not 0: the base comes into EBX and the address is counted from there.

Whether such a segment is whole is not known when a unit is made. So the base is read through a pointer that leads
nowhere while it is not: the instruction traps, and the interpreter does it.
"""

from __future__ import annotations

from bt.engine.identity.crossing import load_whole_base
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.forms import Inline, inline
from bt.engine.reencode.integer import FREE_NUMBER, SCRATCH_NUMBER, IntegerEncoder
from bt.engine.structures import NO_REGISTER
from bt.x86.opcodes import Form
from bt.x86.state import DS, FS, GS

_READ_BASE = b"\x8b\x1b"  # mov ebx, [rbx]


def is_based(form: Form, i: Decoded) -> bool:
    """Whether an instruction has a memory operand of this kind."""
    in_segment = i.is_memory and i.segment in (FS, GS) and i.address_mask == 0xFFFF_FFFF
    is_other = form.meaning == "move.lea" or form.meaning.startswith("string.") or inline(form) is not Inline.NOT
    return in_segment and not is_other


def without_base(encoder: IntegerEncoder, i: Decoded) -> tuple[Decoded, tuple[tuple[bytes, bool], ...]]:
    """The same instruction with an operand in a flat segment, and what has to stand in front of it (see Step)."""
    parts = (load_whole_base(i.segment), False), (_READ_BASE, True)
    flat = i._replace(segment=DS)
    if i.base_number == NO_REGISTER:
        return flat._replace(base_number=SCRATCH_NUMBER), parts
    if i.index_number == NO_REGISTER:
        return flat._replace(index_number=SCRATCH_NUMBER, scale=0), parts
    free = encoder.host(FREE_NUMBER)
    sum_only = flat._replace(base_number=FREE_NUMBER, index_number=SCRATCH_NUMBER, scale=0, displacement=0)
    return sum_only, (*parts, (encoder.operand_address(free, flat), False))
