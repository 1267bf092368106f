"""Boot sectors: what a PC's firmware leaves behind when it starts one, without the firmware.

The image is loaded at 0000:7C00 and entered in real mode with the drive number in DL, a stack below it and interrupts
enabled. There is no BIOS: each vector of the interrupt table leads to a HLT of its own at F000:E000 and up, by which
`why_stopped` knows what the guest asked for.
"""

import struct
from typing import NamedTuple

from bt.boot.loaders.real_mode import ALWAYS_SET, CR0_ET, segment
from bt.boot.placement import PhysicalMemory
from bt.boot.state import GENERAL_REGISTERS, SEGMENT_REGISTERS, SERIAL_8N1, EntryState
from bt.end import End
from bt.errors import BadImage
from bt.x86.vectors import Vector, vector_name

SECTOR = 512
SIGNATURE, SIGNATURE_OFFSET = b"\x55\xaa", 510
LOAD_ADDRESS = 0x7C00
LARGEST = 0x80000 - LOAD_ADDRESS  # bytes; above are the data of the BIOS and the screen
FIRST_DISK = 0x80

VECTORS = 256
SERVICE_SEGMENT, SERVICE_OFFSET = 0xF000, 0xE000
_HLT = b"\xf4"

_IF = 1 << 9
# The interrupt controllers as on every PC: IRQ 0 to 7 at vectors 08-0F, IRQ 8 to 15 at 70-77. All are masked, where a
# BIOS leaves some open, because there is nobody to serve them.
_INTERRUPT_CONTROLLERS = (
    *((0x20, 0x11), (0x21, 0x08), (0x21, 0x04), (0x21, 0x01), (0x21, 0xFF)),
    *((0xA0, 0x11), (0xA1, 0x70), (0xA1, 0x02), (0xA1, 0x01), (0xA1, 0xFF)),
)

_INT = 0xCD  # opcode of INT n
_FIRST_SERVICE = 0x10  # below are exceptions, and interrupts of the first controller
_FIRST_IRQ = 8
_NOT_IN_REAL_MODE = (Vector.TS, Vector.NP, Vector.PF)


class Stop(NamedTuple):
    """Why a guest cannot go on without firmware: `end` says how that ends the run."""

    end: End
    detail: str


def is_boot_sector(image: bytes) -> bool:
    """Whether a BIOS would start it: the two bytes at the end of the first sector."""
    return image[SIGNATURE_OFFSET:SECTOR] == SIGNATURE


def load(name: str, image: bytes, ram: PhysicalMemory) -> EntryState:
    """Put the whole image at 0000:7C00, as if it had loaded its other sectors itself. Raises BadImage."""
    if len(image) < SECTOR:
        raise BadImage(f"{name}: no boot sector ({len(image)} bytes, a sector has {SECTOR})")
    if not is_boot_sector(image):
        raise BadImage(f"{name}: no boot sector (bytes 510 and 511 are not 55 AA): no BIOS would start it")
    if len(image) > LARGEST:
        raise BadImage(f"{name}: {len(image)} bytes are no boot sector; at most {LARGEST} fit below 512 KiB")
    vectors = [struct.pack("<HH", SERVICE_OFFSET + number, SERVICE_SEGMENT) for number in range(VECTORS)]
    ram.write(0, b"".join(vectors))
    ram.write(SERVICE_SEGMENT * 16 + SERVICE_OFFSET, _HLT * VECTORS)
    ram.write(LOAD_ADDRESS, image)
    return EntryState(
        entry_kind="boot sector",
        eip=LOAD_ADDRESS,
        gpr=dict.fromkeys(GENERAL_REGISTERS, 0) | {"esp": LOAD_ADDRESS, "edx": FIRST_DISK},
        eflags=_IF | ALWAYS_SET,
        segments=dict.fromkeys(SEGMENT_REGISTERS, segment(0)),
        gdt_base=0,
        gdt_limit=0,
        cr0=CR0_ET,
        port_writes=SERIAL_8N1 + _INTERRUPT_CONTROLLERS,
    )


def why_stopped(code_segment: int, eip: int, stack: int, ax: int, ram: PhysicalMemory) -> Stop | None:
    """Why a processor has halted at CS:EIP with its stack there (physical address); None if not for want of a BIOS."""
    number = eip - SERVICE_OFFSET - 1  # EIP is behind the HLT
    if code_segment != SERVICE_SEGMENT or not 0 <= number < VECTORS:
        return None
    ip, segment = struct.unpack("<HH", ram.read(stack, 4))
    before = ram.read((segment * 16 + ip - 2) & 0xFFFFF, 2)
    if number >= _FIRST_SERVICE or before == bytes((_INT, number)):
        return Stop(End.BIOS_SERVICE, f"int {number:#04x} with AX={ax:#06x}; bt has no BIOS")
    causes = [vector_name(number)] if number in set(Vector).difference(_NOT_IN_REAL_MODE) else []
    causes += [f"IRQ {number - _FIRST_IRQ}"] if number >= _FIRST_IRQ else []
    return Stop(End.NO_HANDLER, f"{number:#04x} ({' or '.join(causes)}) at {segment:04x}:{ip:04x}")
