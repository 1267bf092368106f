"""A decoded record as Python sees it."""

from __future__ import annotations

import ctypes
import struct
from typing import NamedTuple

from bt.engine.structures import RECORD, RECORD_BYTES, VARIANT_MEMORY, VARIANT_REPNZ, VARIANT_REPZ, operand_size_of
from bt.x86.state import CS, FS

_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}
_RECORD = struct.Struct("<" + "".join(_CODES[width] for width in RECORD.widths.values()))


class Decoded(NamedTuple):
    """One RECORD; fields as there, and the address that it was read from."""

    handler: int
    eip: int
    next_eip: int
    immediate: int
    immediate2: int
    displacement: int
    address_mask: int
    base: int
    index: int
    reg: int
    rm: int
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
    record: int = 0

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

    @property
    def signed_displacement(self) -> int:
        return self.displacement - ((self.displacement & 0x8000_0000) << 1)

    @property
    def is_flat(self) -> bool:
        """Whether the memory operand is at a 32-bit linear address in a segment that is flat where DS is."""
        return self.address_mask == 0xFFFF_FFFF and self.segment < FS and self.segment != CS


assert tuple(RECORD.offsets) == Decoded._fields[:-1]
_fields = tuple(RECORD.offsets.values())
assert _fields == tuple(sorted(_fields))
assert _RECORD.size <= RECORD_BYTES


def decoded_records(address: int, count: int) -> list[Decoded]:
    """The records from a host address on."""
    data = ctypes.string_at(address, count * RECORD_BYTES)
    return [
        Decoded(*_RECORD.unpack_from(data, n * RECORD_BYTES), address + n * RECORD_BYTES) for n in range(count)
    ]
