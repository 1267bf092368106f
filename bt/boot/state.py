"""What the processor looks like when a guest's first instruction runs.

Loaders produce an `EntryState`; the machine copies it into its virtual processor. Pure data: nothing here knows
of engines or devices.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

EntryKind = Literal["multiboot", "multiboot 2", "PVH", "linux", "flat", "boot sector"]

GENERAL_REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
SEGMENT_REGISTERS = ("es", "cs", "ss", "ds", "fs", "gs")


# Line control of COM1 and COM2: eight data bits, no parity, one stop bit. After reset characters would have five
# bits, and many a small guest just writes them.
SERIAL_8N1 = ((0x3FB, 0x03), (0x2FB, 0x03))
# The timer ticks 18.2 times a second. The interrupt controllers as on every PC, IRQ 0 to 7 at vectors 08-0F, IRQ 8 to
# 15 at 70-77, and open what SeaBIOS serves: timer, keyboard, diskettes; RTC, mouse, FPU errors, the first IDE channel.
# They come last: what has happened before is no request then.
INTERRUPTS = (
    *((0x43, 0x34), (0x40, 0x00), (0x40, 0x00)),
    *((0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xB8)),
    *((0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01), (0xA1, 0x8E)),
)


class SegmentSetting(NamedTuple):
    """A segment register, visible part and descriptor cache (SDM vol. 3A, 3.4.3).

    `selector` has 16 bits, `base` 32. `limit` is in bytes, granularity already applied: the last valid offset.
    `access` is byte 5 of the descriptor (P, DPL, S, type); `flags32` its D/B flag.
    """

    selector: int
    base: int
    limit: int
    access: int
    flags32: bool


class EntryState(NamedTuple):
    """The processor at entry. Whatever is not named here has its value after reset (SDM vol. 3A, table 10-1).

    `gpr` has all of `GENERAL_REGISTERS`, `segments` all of `SEGMENT_REGISTERS` and perhaps "tr", all values unsigned.
    `gdt_limit` is in bytes, as LGDT takes it. The A20 gate is open in every kind of entry. `port_writes` is what
    firmware has told the devices by then, in which kinds of entry differ: ports and the bytes written there.
    `has_data_area`: the BIOS data area and its extension are where a PC has them, and not part of the image.
    `calls_bios`: it is started as by a BIOS, whose services it calls; the two fields before are nothing to it then.
    """

    entry_kind: EntryKind
    eip: int
    gpr: Mapping[str, int]
    eflags: int
    segments: Mapping[str, SegmentSetting]
    gdt_base: int
    gdt_limit: int
    cr0: int
    port_writes: tuple[tuple[int, int], ...] = SERIAL_8N1 + INTERRUPTS
    has_data_area: bool = True
    calls_bios: bool = False
