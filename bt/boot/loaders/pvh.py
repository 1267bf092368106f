"""PVH: kernels that name a 32-bit entry in an ELF note (Xen's x86/HVM direct boot ABI, docs/misc/pvh.pandoc).

Entry: EBX = the start information, flat segments, paging and interrupts off, TR a busy 32-bit TSS at 0. ESP and GDTR
are left open there; here they are as for multiboot.
"""

import struct
from collections.abc import Sequence

from bt.boot.loaders import elf
from bt.boot.loaders.flat import CODE_SELECTOR, DATA_SELECTOR
from bt.boot.loaders.information import Block, Module, place_modules
from bt.boot.loaders.protected_mode import flat_entry, flat_gdt
from bt.boot.placement import MOST_LOW_RAM, PhysicalMemory, check_pieces, first_fit, piece, store
from bt.boot.state import EntryState, SegmentSetting
from bt.errors import BadImage
from bt.firmware.e820 import memory_map
from bt.x86.page import PAGE

MAGIC = 0x336EC578
VERSION = 1  # with a memory map
NOTE = (b"Xen\0", 18)  # XEN_ELFNOTE_PHYS32_ENTRY
_START_INFO = struct.Struct("<IIIIQQQQII")
_MODULE = struct.Struct("<QQQQ")
_MAP_ENTRY = struct.Struct("<QQII")
_TASK = SegmentSetting(0, 0, 0x67, 0x8B, False)  # present, a busy 32-bit TSS


def find_entry(name: str, image: bytes) -> int | None:
    """The entry (physical address) that an ELF's note names, or None. Raises BadImage if it is for another processor
    or names none.
    """
    if not elf.is_elf(image):
        return None
    elf.check_processor(name, image)
    description = elf.find_note(image, NOTE)
    if description is None:
        return None
    if len(description) not in (4, 8):
        raise BadImage(f"{name}: its PVH note has {len(description)} bytes instead of an address")
    return int.from_bytes(description, "little")


def _start_info(
    base: int, ram_size: int, command_line: bytes, modules: Sequence[Module], module_starts: Sequence[int]
) -> bytes:
    """`struct hvm_start_info` at physical `base`, followed by what it points to."""
    block = Block(base)
    block.put(bytes(_START_INFO.size))
    lines = [block.put_string(each.command_line) if each.command_line else 0 for each in modules]
    listed = b"".join(
        _MODULE.pack(start, len(each.data), line, 0)
        for each, start, line in zip(modules, module_starts, lines, strict=True)
    )
    ranges = memory_map(ram_size)
    entries = b"".join(_MAP_ENTRY.pack(each.base, each.length, each.type, 0) for each in ranges)
    header = (
        MAGIC,
        VERSION,
        0,
        len(modules),
        block.put(listed, alignment=8) if modules else 0,
        block.put_string(command_line),
        0,  # there are no ACPI tables yet
        block.put(entries, alignment=8),
        len(ranges),
        0,
    )
    _START_INFO.pack_into(block.bytes, 0, *header)
    return bytes(block.bytes)


def load(
    name: str, image: bytes, entry: int, ram: PhysicalMemory, *, command_line: bytes, modules: Sequence[Module] = ()
) -> EntryState:
    """Put kernel, modules and start information into RAM. Raises BadImage."""
    executable = elf.parse(name, image, any_entry=True)._replace(entry=entry)
    if not any(each.paddr <= entry < each.end for each in executable.pieces):
        raise BadImage(f"{name}: the entry {entry:#x} of its PVH note lies in none of its segments")
    placed = place_modules(modules, executable.pieces)
    pieces = [*executable.pieces, *placed]
    check_pieces(name, pieces, MOST_LOW_RAM)
    starts = [each.paddr for each in placed]
    gdt = flat_gdt(CODE_SELECTOR, DATA_SELECTOR)
    information_bytes = len(_start_info(0, ram.size, command_line, modules, starts))
    stack = first_fit(PAGE + information_bytes + len(gdt), pieces)
    information_base, gdt_base = stack + PAGE, stack + PAGE + information_bytes
    information = _start_info(information_base, ram.size, command_line, modules, starts)
    pieces += [piece(information_base, information, "PVH start information"), piece(gdt_base, gdt, "GDT")]
    check_pieces(name, pieces, ram.size)
    store(ram, pieces)
    state = flat_entry(
        "PVH",
        executable.entry,
        code=CODE_SELECTOR,
        data=DATA_SELECTOR,
        gdt_base=gdt_base,
        gpr={"ebx": information_base, "esp": information_base},
        pieces=pieces,
    )
    return state._replace(segments={**state.segments, "tr": _TASK})
