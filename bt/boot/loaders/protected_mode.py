"""Flat 32-bit protected mode, which all loaders enter: one code and one data segment over the whole 4 GiB."""

import struct
from collections.abc import Iterable

from bt.boot.placement import Piece, has_data_area
from bt.boot.state import GENERAL_REGISTERS, EntryKind, EntryState, SegmentSetting

CR0_PE = 1 << 0
CR0_ET = 1 << 4  # reads as one on every processor since the 486
EFLAGS_FIXED = 1 << 1  # bit 1 reads as one; IF, DF, TF and IOPL stay zero

# Access bytes with the accessed bit set: the processor sets it when it loads a segment register.
ACCESS_CODE = 0x9B  # present, DPL 0, execute/read
ACCESS_DATA = 0x93  # present, DPL 0, read/write, expand-up

FLAT_LIMIT = 0xFFFF_FFFF


def _flat_descriptor(access: int) -> bytes:
    """Descriptor with base 0, limit 0xFFFFF pages, D/B set (SDM vol. 3A, figure 3-8)."""
    return struct.pack("<HHBBBB", 0xFFFF, 0, 0, access, 0xCF, 0)


def flat_gdt(code: int, data: int) -> bytes:
    """A GDT with flat segments behind the selectors `code` and `data`; all its other entries are null."""
    table = bytearray(max(code, data) + 8)
    table[code : code + 8] = _flat_descriptor(ACCESS_CODE)
    table[data : data + 8] = _flat_descriptor(ACCESS_DATA)
    return bytes(table)


def flat_entry(
    kind: EntryKind,
    eip: int,
    *,
    code: int,
    data: int,
    gdt_base: int,
    gpr: dict[str, int],
    pieces: Iterable[Piece] = (),
) -> EntryState:
    """Entry at `eip` with interrupts and paging off. Registers missing in `gpr` are zero. `pieces`: what was stored."""
    data_segment = SegmentSetting(data, 0, FLAT_LIMIT, ACCESS_DATA, True)
    segments = dict.fromkeys(("es", "ss", "ds", "fs", "gs"), data_segment)
    segments["cs"] = SegmentSetting(code, 0, FLAT_LIMIT, ACCESS_CODE, True)
    return EntryState(
        entry_kind=kind,
        eip=eip,
        gpr=dict.fromkeys(GENERAL_REGISTERS, 0) | gpr,
        eflags=EFLAGS_FIXED,
        segments=segments,
        gdt_base=gdt_base,
        gdt_limit=len(flat_gdt(code, data)) - 1,
        cr0=CR0_PE | CR0_ET,
        has_data_area=has_data_area(pieces),
    )
