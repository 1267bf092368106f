"""A decoded record as Python sees it."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Container
from typing import NamedTuple

from bt.codegen.layout import Layout
from bt.engine.structures import RECORD, RECORD_BYTES, VARIANT_MEMORY, VARIANT_REPNZ, VARIANT_REPZ, operand_size_of
from bt.x86.state import CS, FS

_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}


def record_struct(layout: Layout, signed: Container[str] = ()) -> struct.Struct:
    """The fields of a record's layout in order, those `signed` with a sign."""
    codes = (_CODES[w].lower() if name in signed else _CODES[w] for name, w in layout.widths.items())
    return struct.Struct("<" + "".join(codes))


_RECORD = record_struct(RECORD)


class OfVariant:
    """What the variant of a record says of its instruction."""

    __slots__ = ()
    variant: int

    @property
    def is_memory(self) -> bool:
        return bool(self.variant & VARIANT_MEMORY)

    @property
    def is_repeated(self) -> bool:
        return bool(self.variant & (VARIANT_REPZ | VARIANT_REPNZ))

    @property
    def operand_size(self) -> int:
        """Bits."""
        return operand_size_of(self.variant)


class _Fields(NamedTuple):
    handler: int
    eip: int
    next_eip: int
    immediate: int
    immediate2: int
    displacement: int
    address_mask: int
    base_slot: int
    index_slot: int
    reg_slot: int
    rm_slot: int
    form: int
    number: int
    thunk: int
    scale: int
    segment: int
    variant: int
    length: int
    reg_number: int
    rm_number: int
    base_number: int
    index_number: int
    modrm: int
    flags_live: int
    record: int


class Decoded(_Fields, OfVariant):
    """One RECORD; fields as there, but for operands as `_slot`, and the address that it was read from."""

    __slots__ = ()

    @property
    def signed_displacement(self) -> int:
        return self.displacement - ((self.displacement & 0x8000_0000) << 1)

    @property
    def is_flat(self) -> bool:
        """Whether the memory operand is at a 32-bit linear address in a segment that is flat where DS is."""
        return self.address_mask == 0xFFFF_FFFF and self.segment < FS and self.segment != CS


assert [name.removesuffix("_slot") for name in Decoded._fields[:-1]] == list(RECORD.offsets)


def decoded_records(address: int, count: int) -> list[Decoded]:
    """The records from a host address on."""
    data = ctypes.string_at(address, count * RECORD_BYTES)
    return [
        Decoded._make((*_RECORD.unpack_from(data, at), address + at))
        for at in range(0, count * RECORD_BYTES, RECORD_BYTES)
    ]
