"""The memory map: what RAM there is, and what firmware makes of it, as INT 15h, AX=E820h reports it."""

from enum import IntEnum
from typing import NamedTuple

from bt.memory.map_layout import HIGH_MEMORY, VIDEO_HOLE, low_ram, ram_ranges

EBDA = 0x9_FC00  # extended BIOS data area: one KiB, where PC firmware keeps it
ROM = 0xF_0000


class MemoryType(IntEnum):
    """Types of address ranges (ACPI 6.5, table 15.4)."""

    USABLE = 1
    RESERVED = 2


class MemoryRange(NamedTuple):
    """One line of the map; `base` and `length` in bytes."""

    base: int
    length: int
    type: MemoryType = MemoryType.USABLE


def ram(ram_bytes: int) -> list[MemoryRange]:
    """What firmware is told."""
    return [MemoryRange(start, length) for start, length in ram_ranges(ram_bytes)]


def memory_map(ram_bytes: int) -> list[MemoryRange]:
    """What firmware tells: ascending, without overlaps."""
    reserved = MemoryType.RESERVED
    ranges = [MemoryRange(0, min(EBDA, ram_bytes))]
    if ram_bytes > EBDA:
        ranges.append(MemoryRange(EBDA, min(VIDEO_HOLE, ram_bytes) - EBDA, reserved))
    ranges.append(MemoryRange(ROM, HIGH_MEMORY - ROM, reserved))
    low, *above = ram(ram_bytes)
    if low.length > HIGH_MEMORY:
        ranges.append(MemoryRange(HIGH_MEMORY, low.length - HIGH_MEMORY))
    return [*ranges, *above]


def lower_kib(ram_bytes: int) -> int:
    """Conventional memory from address 0, in KiB."""
    return min(EBDA, ram_bytes) // 1024


def upper_kib(ram_bytes: int) -> int:
    """Memory from 1 MiB up to the addresses of devices, in KiB."""
    return max(low_ram(ram_bytes) - HIGH_MEMORY, 0) // 1024
