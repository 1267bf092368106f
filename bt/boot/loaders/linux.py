"""The Linux/x86 boot protocol, 32-bit entry (Documentation/arch/x86/boot.rst and zero-page.rst, protocol 2.02 to 2.15).

The protected-mode part of a bzImage goes to its code32_start, normally 1 MiB, and is entered there with ESI = the
zero page, EBX = EBP = EDI = 0, CS = 0x10 and the other segments 0x18, interrupts and paging off. The kernel's
real-mode part never runs: what it would ask the BIOS is in the zero page. Where code32_start is 0 that part is all
there is to enter: linux_real_mode.py.

    0x09000 GDT   0x10000 zero page   0x20000 command line   1 MiB kernel   as high as allowed: initrd
"""

import struct
from typing import NamedTuple

from bt.boot.loaders.protected_mode import flat_entry, flat_gdt
from bt.boot.placement import (
    MIB,
    MOST_LOW_RAM,
    PhysicalMemory,
    align_down,
    align_up,
    check_pieces,
    enough_memory,
    piece,
    store,
)
from bt.boot.state import EntryState
from bt.errors import BadImage, BadUsage
from bt.firmware.e820 import EBDA, memory_map, upper_kib
from bt.memory.map_layout import HIGH_MEMORY, low_ram
from bt.x86.page import PAGE

CODE_SELECTOR = 0x10  # __BOOT_CS
DATA_SELECTOR = 0x18  # __BOOT_DS

GDT = 0x9000
ZERO_PAGE = 0x1_0000
COMMAND_LINE = 0x2_0000

_SECTOR = 512
_SETUP_HEADER = 0x1F1
_SETUP_HEADER_LIMIT = 0x290  # the zero page's next field, edd_mbr_sig_buffer
_OLDEST, _TOO_NEW = 0x0202, 0x0300
# How far the setup header must reach for the fields that came with each version.
_HEADER_END = {0x0202: 0x22C, 0x0203: 0x230, 0x0205: 0x235, 0x0206: 0x23C, 0x020A: 0x264}

_LOADED_HIGH = 1 << 0  # loadflags: the protected-mode code belongs to 1 MiB, not to 64 KiB
_KERNEL_64 = 1 << 0  # xloadflags: has a 64-bit entry point, hence is a 64-bit kernel

_VID_MODE_NORMAL = 0xFFFF
_LOADER_UNDEFINED = 0xFF  # type_of_loader of one without an assigned number
_TEXT_80X25 = 3
_COLUMNS, _LINES, _CHARACTER_HEIGHT = 80, 25, 16
_EGA_BX, _IS_VGA = 0x0003, 1

# Defaults for kernels older than the fields.
_OLD_INITRD_ADDR_MAX = 0x37FF_FFFF
_OLD_CMDLINE_SIZE = 255


class SetupHeader(NamedTuple):
    """The fields we act on. Addresses are physical, sizes in bytes, `raw` is the header from 0x1F1 on.

    `code32_start` is 0 where there is no 32-bit entry.
    """

    version: int
    raw: bytes
    code_offset: int
    code32_start: int
    initrd_addr_max: int
    cmdline_size: int
    needs_until: int


def is_bzimage(image: bytes) -> bool:
    return image[0x202:0x206] == b"HdrS"


def is_64_bit(image: bytes) -> bool:
    """Whether a bzImage is a kernel for long mode, which it enters from its 32-bit entry."""
    return _u16(image, 0x206) >= 0x020C and bool(_u16(image, 0x236) & _KERNEL_64)


def parse(name: str, image: bytes) -> SetupHeader:
    """Read and check the setup header of a bzImage. Raises BadImage."""
    if len(image) < 2 * _SECTOR:
        raise BadImage(f"{name}: bzImage is cut off in its setup header: the file has {len(image)} bytes")
    if _u16(image, 0x1FE) != 0xAA55:
        raise BadImage(f"{name}: bzImage has boot flag {_u16(image, 0x1FE):#06x} at 0x1fe; expected 0xaa55")
    version = _u16(image, 0x206)
    shown = f"{version >> 8}.{version & 0xFF:02}"
    if not _OLDEST <= version < _TOO_NEW:
        raise BadImage(f"{name}: Linux boot protocol {shown}; bt speaks 2.02 and later 2.x")
    header_end = 0x202 + image[0x201]
    header_needed = max(end for since, end in _HEADER_END.items() if since <= version)
    if not header_needed <= header_end <= _SETUP_HEADER_LIMIT:
        raise BadImage(
            f"{name}: setup header ends at {header_end:#x}; with boot protocol {shown} that must be "
            f"{header_needed:#x}..{_SETUP_HEADER_LIMIT:#x}"
        )
    if not image[0x211] & _LOADED_HIGH:
        raise BadImage(f"{name}: a zImage (loadflags bit 0 is clear); build the kernel as bzImage")

    code_offset = ((image[0x1F1] or 4) + 1) * _SECTOR
    code_bytes = len(image) - code_offset
    if code_bytes <= 0:
        raise BadImage(f"{name}: bzImage ends before its protected-mode code at {code_offset:#x}: is it cut off?")
    # syssize counts paragraphs, the last one possibly incomplete; before 2.04 it had only 16 bits and is no use
    if version >= 0x0204 and _u32(image, 0x1F4) > -(-code_bytes // 16):
        raise BadImage(
            f"{name}: bzImage says {_u32(image, 0x1F4) * 16:#x} bytes of protected-mode code, "
            f"the file has {code_bytes:#x}: is it cut off?"
        )
    code32_start = _u32(image, 0x214)
    if 0 < code32_start < HIGH_MEMORY:
        raise BadImage(f"{name}: bzImage with code32_start {code32_start:#x}, below 1 MiB")
    return SetupHeader(
        version=version,
        raw=image[_SETUP_HEADER:header_end],
        code_offset=code_offset,
        code32_start=code32_start,
        initrd_addr_max=_u32(image, 0x22C) if version >= 0x0203 else _OLD_INITRD_ADDR_MAX,
        cmdline_size=_u32(image, 0x238) if version >= 0x0206 else _OLD_CMDLINE_SIZE,
        needs_until=_needs_until(name, image, version, code32_start or HIGH_MEMORY, code_bytes),
    )


def _needs_until(name: str, image: bytes, version: int, code32_start: int, code_bytes: int) -> int:
    """End of the memory the kernel uses before it looks at the memory map: its file, and what it unpacks to."""
    loaded_until = code32_start + code_bytes
    if version < 0x020A:
        return loaded_until
    preferred, init_size = _u32(image, 0x258) | _u32(image, 0x25C) << 32, _u32(image, 0x260)
    runs_at = preferred
    if image[0x234]:  # relocatable: unpacks to where it was loaded, but not below the preferred address
        alignment = _u32(image, 0x230)
        if alignment == 0 or alignment & (alignment - 1):
            raise BadImage(f"{name}: bzImage with kernel_alignment {alignment:#x}, not a power of two")
        runs_at = max(preferred, align_up(code32_start, alignment))
    return max(loaded_until, runs_at + init_size)


def load(
    name: str, image: bytes, ram: PhysicalMemory, *, command_line: bytes = b"", initrd: bytes | None = None
) -> EntryState:
    """Put kernel, initrd, command line and zero page into RAM. Raises BadImage, or BadUsage for the command line."""
    header = parse(name, image)
    longest = min(header.cmdline_size, EBDA - COMMAND_LINE - 1)
    if len(command_line) > longest:
        raise BadUsage(
            f"{name}: command line of {len(command_line)} bytes; this kernel takes {longest}: shorten -append"
        )
    initrd_start = _make_room(name, header, None if initrd is None else len(initrd), ram.size)
    if not header.code32_start:
        from bt.boot.loaders import linux_real_mode  # hardly anybody needs it

        return linux_real_mode.load(
            name, image, header.code_offset, ram, command_line=command_line, initrd_start=initrd_start, initrd=initrd
        )
    kernel = piece(header.code32_start, image[header.code_offset :], "kernel")
    pieces = [
        kernel,
        piece(GDT, flat_gdt(CODE_SELECTOR, DATA_SELECTOR), "GDT"),
        piece(ZERO_PAGE, _zero_page(header, ram.size, initrd_start, len(initrd or b"")), "zero page"),
        piece(COMMAND_LINE, command_line + b"\0", "command line"),
    ]
    if initrd is not None:
        pieces.append(piece(initrd_start, initrd, "initrd"))
    check_pieces(name, pieces, ram.size)
    store(ram, pieces)
    return flat_entry(
        "linux",
        header.code32_start,
        code=CODE_SELECTOR,
        data=DATA_SELECTOR,
        gdt_base=GDT,
        gpr={"esi": ZERO_PAGE, "esp": GDT},
    )


def _make_room(name: str, header: SetupHeader, initrd_bytes: int | None, ram_size: int) -> int:
    """Where the initrd goes (0 if there is none): as high as the kernel allows, clear of what that unpacks to.

    Raises BadImage, with the advice to give more memory only if that helps.
    """
    if initrd_bytes == 0:
        raise BadImage(f"{name}: the initrd is empty")
    needs = f"{name}: this kernel needs {header.needs_until / MIB:.1f} MiB of RAM to unpack itself"
    if header.needs_until > MOST_LOW_RAM:
        raise BadImage(f"{needs}; a guest has {MOST_LOW_RAM / MIB:g} at most")
    highest = min(header.initrd_addr_max + 1, MOST_LOW_RAM)
    enough = header.needs_until
    if initrd_bytes is not None:
        size = f"an initrd of {initrd_bytes / MIB:.1f} MiB"
        enough = align_up(header.needs_until, PAGE) + initrd_bytes
        if align_down(highest - initrd_bytes, PAGE) < header.needs_until:
            raise BadImage(
                f"{name}: {size} does not fit; this kernel has room for one from {header.needs_until / MIB:.1f} "
                f"to {highest / MIB:.1f} MiB"
            )
        needs = f"{needs} and {size} above that"
    if enough > low_ram(ram_size):
        raise BadImage(f"{needs}, there are {ram_size / MIB:g}; {enough_memory(enough)}")
    return align_down(min(highest, low_ram(ram_size)) - initrd_bytes, PAGE) if initrd_bytes else 0


def _zero_page(header: SetupHeader, ram_size: int, initrd_start: int, initrd_bytes: int) -> bytes:
    """struct boot_params (zero-page.rst). What is not set stays zero, which means absent."""
    page = bytearray(PAGE)
    struct.pack_into("<H", page, 0x02, min(upper_kib(ram_size), 0xFFFF))  # ext_mem_k, from INT 15h AH=88h
    # screen_info, from INT 10h: cursor at the top left; mode, columns; 256 KiB, colour; lines, VGA, dots of a character
    struct.pack_into("<BB", page, 0x06, _TEXT_80X25, _COLUMNS)
    struct.pack_into("<H", page, 0x0A, _EGA_BX)
    struct.pack_into("<BBH", page, 0x0E, _LINES, _IS_VGA, _CHARACTER_HEIGHT)
    struct.pack_into("<I", page, 0x1E0, upper_kib(ram_size))  # alt_mem_k
    page[_SETUP_HEADER : _SETUP_HEADER + len(header.raw)] = header.raw
    struct.pack_into("<H", page, 0x1FA, _VID_MODE_NORMAL)
    page[0x210] = _LOADER_UNDEFINED
    struct.pack_into("<II", page, 0x218, initrd_start, initrd_bytes)  # ramdisk_image, ramdisk_size
    struct.pack_into("<I", page, 0x228, COMMAND_LINE)
    ranges = memory_map(ram_size)
    page[0x1E8] = len(ranges)
    for number, each in enumerate(ranges):
        struct.pack_into("<QQI", page, 0x2D0 + 20 * number, each.base, each.length, each.type)
    return bytes(page)


def _u16(image: bytes, offset: int) -> int:
    return int.from_bytes(image[offset : offset + 2], "little")


def _u32(image: bytes, offset: int) -> int:
    return int.from_bytes(image[offset : offset + 4], "little")
