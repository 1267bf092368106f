"""A record of 64-bit code as Python sees it, and the block that it is from."""

from __future__ import annotations

import ctypes
import struct
from typing import NamedTuple

from bt.engine.reencode.decoded import OfVariant, record_struct
from bt.engine.structures import (
    BLOCK,
    BLOCK_BYTES,
    LONG_RECORD,
    NO_PAGE,
    RECORD_BYTES,
)
from bt.x86.opcodes import FORMS, Form
from bt.x86.page import PAGE

_RECORD = record_struct(LONG_RECORD, signed=("immediate", "displacement"))
assert _RECORD.size == RECORD_BYTES


class _Fields(NamedTuple):
    handler: int
    eip: int
    immediate: int
    displacement: int
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
    immediate2: int
    address_size_32: int
    rex: int
    heat: int
    record: int


class _EssentialFields(NamedTuple):
    form: int
    variant: int
    reg_number: int
    rm_number: int
    rex: int
    immediate: int


class Essence(_EssentialFields, OfVariant):
    """What an instruction does to registers and flags depends on this alone, wherever its memory operand is."""

    __slots__ = ()

    @property
    def its_form(self) -> Form:
        return FORMS[self.form]


class LongDecoded(_Fields, OfVariant):
    """One LONG_RECORD; fields as there, but for operands as `_slot`, and the address that it was read from.

    `eip`, as the field is called, is RIP as a number without sign; `immediate` and `displacement` have signs.
    """

    __slots__ = ()

    @property
    def its_form(self) -> Form:
        return FORMS[self.form]

    @property
    def essence(self) -> Essence:
        return Essence(self.form, self.variant, self.reg_number, self.rm_number, self.rex, self.immediate)

    @property
    def next_eip(self) -> int:
        return (self.eip + self.length) & (1 << 64) - 1

    @property
    def target(self) -> int:
        """Of a relative branch."""
        return self.immediate & (1 << 64) - 1


assert [name.removesuffix("_slot") for name in LongDecoded._fields[:-1]] == list(LONG_RECORD.offsets)


def decoded_at(record: int) -> LongDecoded:
    """The record at a host address."""
    return LongDecoded._make((*_RECORD.unpack(ctypes.string_at(record, RECORD_BYTES)), record))


_BLOCK = struct.Struct("<QQ8xQ8xQI12xH2x?B")
assert [BLOCK.offsets[name] for name in ("eip", "mode", "count", "dead", "in_units")] == [40, 48, 64, 68, 69]


_RECORDS_OF_BLOCK = struct.Struct(f"<{BLOCK.offsets['records']}xQ{BLOCK_BYTES - BLOCK.offsets['records'] - 8}x")


def first_records(start: int, end: int) -> list[int]:
    """Host addresses of the first records of the BLOCKs from a host address to another."""
    return [address for (address,) in _RECORDS_OF_BLOCK.iter_unpack(ctypes.string_at(start, end - start))]


class LongBlock(NamedTuple):
    """A BLOCK of 64-bit code."""

    address: int
    records: int
    eip: int
    insns: int
    mode: int
    page: int  # physical
    usable: bool

    @classmethod
    def at(cls, address: int) -> LongBlock:
        """The one at a host address."""
        fields = _BLOCK.unpack_from(ctypes.string_at(address, BLOCK_BYTES))
        physical, records, physical2, eip, mode, insns, is_dead, _ = fields
        return cls(address, records, eip, insns, mode, physical & -PAGE, not is_dead and physical2 == NO_PAGE)

    def instructions(self) -> list[LongDecoded]:
        data, make = ctypes.string_at(self.records, self.insns * RECORD_BYTES), LongDecoded._make
        return [make((*fields, self.records + n * RECORD_BYTES)) for n, fields in enumerate(_RECORD.iter_unpack(data))]
