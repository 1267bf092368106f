"""Single elements of strings in 16-bit code: as strings.py has it, at segments' bases and with indexes of 16 bits."""

from __future__ import annotations

from bt.codegen.host_bytes import move
from bt.engine.identity.making import strings
from bt.engine.identity.making.offsets import (
    EBX,
    ENCODER,
    FREE,
    Parts,
    Place,
    at_offset,
    set_word,
    zero_extended,
)
from bt.engine.reencode.decoded import Decoded
from bt.engine.reencode.integer import NotEncodable
from bt.x86.opcodes import Form
from bt.x86.state import EAX, EDI, ES, ESI, LIMIT_8086

_ACCUMULATOR, _SOURCE, _DESTINATION = (ENCODER.host(number) for number in (EAX, ESI, EDI))
_LOAD, _STORE, _COMPARE = (
    {1: bytes((code,)), 2: bytes((code + 1,)), 4: bytes((code + 1,))} for code in (0x8A, 0x88, 0x3A)
)


def single_element(form: Form, i: Decoded) -> Parts:
    """Its host instructions. Raises NotEncodable."""
    if i.is_repeated or form.meaning not in strings.MEANINGS:
        raise NotEncodable("repeated, or compares two")
    strings.require_host()
    size = strings.element_size(form, i)
    wraps = i.address_mask == LIMIT_8086

    def element(index: int, segment: int) -> Place:
        return at_offset((((zero_extended if wraps else move)(EBX, index), False),), segment, size, wraps=wraps)

    def advance(index: int) -> Parts:
        if not wraps:
            return ((strings.advanced(index, index, size), False),)
        return (strings.advanced(EBX, index, size), False), (set_word(index, EBX), False)

    source, destination = element(_SOURCE, i.segment), element(_DESTINATION, ES)
    match form.meaning:
        case "string.lods":
            access = source.access(_LOAD[size], _ACCUMULATOR, size=size)
            return (*source.before, access, strings.MASK, *advance(_SOURCE))
        case "string.stos":
            access = destination.access(_STORE[size], _ACCUMULATOR, size=size)
            return (*destination.before, access, strings.MASK, *advance(_DESTINATION))
        case "string.scas":
            access = destination.access(_COMPARE[size], _ACCUMULATOR, size=size)
            return (*destination.before, access, strings.MASK, *advance(_DESTINATION))
    stored = destination.access(_STORE[size], FREE, size=size)
    both = (*source.before, source.load(FREE, size), *destination.before, stored)
    # the mask is in EBX, which the first index goes on by way of
    return (*both, strings.MASK, *advance(_SOURCE), strings.MASK, *advance(_DESTINATION))
