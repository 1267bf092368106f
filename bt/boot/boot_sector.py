"""Boot sectors: what a PC's firmware leaves behind when it starts one, without the firmware.

The image is loaded at 0000:7C00 and entered in real mode with the drive number in DL, a stack below it and interrupts
enabled. There is no BIOS: each vector of the interrupt table leads to a HLT of its own at F000:E000 and up, by which
`service_called` knows what the guest asked for.
"""

import struct

from bt.boot.placement import PhysicalMemory
from bt.boot.state import GENERAL_REGISTERS, SEGMENT_REGISTERS, EntryState, SegmentSetting
from bt.errors import BadImage

SECTOR = 512
SIGNATURE, SIGNATURE_OFFSET = b"\x55\xaa", 510
LOAD_ADDRESS = 0x7C00
LARGEST = 0x80000 - LOAD_ADDRESS  # bytes; above are the data of the BIOS and the screen
FIRST_DISK = 0x80

VECTORS = 256
SERVICE_SEGMENT, SERVICE_OFFSET = 0xF000, 0xE000
_HLT = b"\xf4"

_ACCESS_DATA = 0x93  # present, writable, accessed: what real mode has in every segment register
_EFLAGS = 1 << 9 | 1 << 1  # IF, and the bit that is always one
_CR0_ET = 1 << 4


def is_boot_sector(image: bytes) -> bool:
    """Whether a BIOS would start it: the two bytes at the end of the first sector."""
    return image[SIGNATURE_OFFSET:SECTOR] == SIGNATURE


def load(name: str, image: bytes, ram: PhysicalMemory) -> EntryState:
    """Put the whole image at 0000:7C00, as if it had loaded its other sectors itself. Raises BadImage."""
    if not is_boot_sector(image):
        raise BadImage(f"{name}: no boot sector (bytes 510 and 511 are not 55 AA); for a raw image give --flat ADDRESS")
    if len(image) > LARGEST:
        raise BadImage(f"{name}: {len(image)} bytes are no boot sector; at most {LARGEST} fit below 512 KiB")
    vectors = [struct.pack("<HH", SERVICE_OFFSET + number, SERVICE_SEGMENT) for number in range(VECTORS)]
    ram.write(0, b"".join(vectors))
    ram.write(SERVICE_SEGMENT * 16 + SERVICE_OFFSET, _HLT * VECTORS)
    ram.write(LOAD_ADDRESS, image)
    segment = SegmentSetting(selector=0, base=0, limit=0xFFFF, access=_ACCESS_DATA, flags32=False)
    return EntryState(
        entry_kind="boot sector",
        eip=LOAD_ADDRESS,
        gpr=dict.fromkeys(GENERAL_REGISTERS, 0) | {"esp": LOAD_ADDRESS, "edx": FIRST_DISK},
        eflags=_EFLAGS,
        segments=dict.fromkeys(SEGMENT_REGISTERS, segment),
        gdt_base=0,
        gdt_limit=0,
        cr0=_CR0_ET,
    )


def service_called(code_segment: int, eip: int) -> int | None:
    """The vector of the BIOS service that a processor halted at CS:EIP has called, None if it is elsewhere."""
    number = eip - SERVICE_OFFSET - 1  # EIP is behind the HLT
    return number if code_segment == SERVICE_SEGMENT and 0 <= number < VECTORS else None
