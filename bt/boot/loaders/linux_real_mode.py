"""The Linux/x86 boot protocol, 16-bit entry (Documentation/arch/x86/boot.rst, "Running the Kernel").

For images whose header has no 32-bit entry, such as iPXE's: their real-mode part runs, and calls a BIOS.

    0x10000 real-mode part, heap and stack   0x20000 command line   1 MiB protected-mode part   high: initrd
"""

import struct

from bt.boot.loaders.real_mode import ALWAYS_SET, CR0_ET, segment
from bt.boot.placement import PhysicalMemory, check_pieces, piece, store
from bt.boot.state import GENERAL_REGISTERS, SEGMENT_REGISTERS, EntryState
from bt.errors import BadImage
from bt.memory.map_layout import HIGH_MEMORY

REAL_MODE_PART, COMMAND_LINE = 0x1_0000, 0x2_0000
LARGEST_REAL_MODE_PART = 0x8000  # what is above of its segment is heap and stack
_STACK = 0xFFF0
_ENTRY_PARAGRAPHS = 0x20  # the second sector
_CAN_USE_HEAP, _HEAP_END = 1 << 7, 0xFE00  # the heap's end is told less 200h
_VID_MODE_NORMAL, _LOADER_UNDEFINED = 0xFFFF, 0xFF


def load(
    name: str,
    image: bytes,
    code_offset: int,
    ram: PhysicalMemory,
    *,
    command_line: bytes,
    initrd_start: int,
    initrd: bytes | None,
) -> EntryState:
    """Put its two parts, command line and initrd into RAM; `code_offset` is where the second part begins. BadImage."""
    if code_offset > LARGEST_REAL_MODE_PART:
        raise BadImage(
            f"{name}: bzImage with a real-mode part of {code_offset:#x} bytes; {LARGEST_REAL_MODE_PART:#x} at most"
        )
    part = bytearray(image[:code_offset])
    struct.pack_into("<H", part, 0x1FA, _VID_MODE_NORMAL)
    part[0x210], part[0x211] = _LOADER_UNDEFINED, part[0x211] | _CAN_USE_HEAP
    struct.pack_into("<II", part, 0x218, initrd_start, len(initrd or b""))  # ramdisk_image, ramdisk_size
    struct.pack_into("<HHI", part, 0x224, _HEAP_END, 0, COMMAND_LINE)
    pieces = [
        piece(REAL_MODE_PART, bytes(part), "real-mode part"),
        piece(COMMAND_LINE, command_line + b"\0", "command line"),
        piece(HIGH_MEMORY, image[code_offset:], "kernel"),
    ]
    if initrd is not None:
        pieces.append(piece(initrd_start, initrd, "initrd"))
    check_pieces(name, pieces, ram.size)
    store(ram, pieces)
    data, code = segment(REAL_MODE_PART >> 4), segment((REAL_MODE_PART >> 4) + _ENTRY_PARAGRAPHS)
    return EntryState(
        entry_kind="linux",
        eip=0,
        gpr=dict.fromkeys(GENERAL_REGISTERS, 0) | {"esp": _STACK},
        eflags=ALWAYS_SET,
        segments=dict.fromkeys(SEGMENT_REGISTERS, data) | {"cs": code},
        gdt_base=0,
        gdt_limit=0,
        cr0=CR0_ET,
        calls_bios=True,
    )
