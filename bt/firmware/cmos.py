"""What a PC's setup program has left in CMOS RAM beside the memory's size: drives, boot order, processors."""

from collections.abc import Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple


class FloppyDrive(IntEnum):
    """As byte 10h has it (IBM PC/AT Technical Reference; 2.88 MB as BIOSes have it)."""

    NONE = 0
    KB_360 = 1
    MB_1_2 = 2
    KB_720 = 3
    MB_1_44 = 4
    MB_2_88 = 5


class BootDevice(IntEnum):
    """As bytes 38h and 3Dh have it (SeaBIOS, QEMU)."""

    NONE = 0
    FLOPPY = 1
    DISK = 2
    CDROM = 3
    NETWORK = 4


# What QEMU's -boot calls them.
BOOT_LETTERS = MappingProxyType(
    {"a": BootDevice.FLOPPY, "c": BootDevice.DISK, "d": BootDevice.CDROM, "n": BootDevice.NETWORK}
)


class DiskGeometry(NamedTuple):
    """What a disk says of itself; `translation` as byte 39h has it: 0 none, 1 LBA, 2 large, 3 revised ECHS."""

    cylinders: int
    heads: int
    sectors: int
    translation: int = 0


FLOPPIES, DISK_TYPES, EQUIPMENT, BOOT_ORDER_THIRD, TRANSLATION = 0x10, 0x12, 0x14, 0x38, 0x39
BOOT_ORDER, LAST_CPU = 0x3D, 0x5F
DISK_TYPE, DISK_GEOMETRY = (0x19, 0x1A), (0x1B, 0x24)  # of the first and the second disk
USER_TYPE = 47
EQUIPMENT_FLOPPY, EQUIPMENT_FPU, EQUIPMENT_MOUSE, EQUIPMENT_SECOND_FLOPPY = 1 << 0, 1 << 1, 1 << 2, 1 << 6
NO_FLOPPY_SIGNATURE_CHECK = 1 << 0  # of BOOT_ORDER_THIRD


def values(
    *,
    floppies: Sequence[FloppyDrive] = (),
    disks: Sequence[DiskGeometry | None] = (),
    boot_order: Sequence[BootDevice] = (BootDevice.DISK, BootDevice.CDROM, BootDevice.FLOPPY),
    cpus: int = 1,
    mouse: bool = True,
) -> dict[int, int]:
    """CMOS bytes by index. `disks`: up to four, in the order of the IDE channels, None where there is none."""
    drives = [*floppies, FloppyDrive.NONE, FloppyDrive.NONE][:2]
    order = [*boot_order, *(BootDevice.NONE,) * 3][:3]
    equipment = EQUIPMENT_FPU | (EQUIPMENT_MOUSE if mouse else 0)
    if drives[0]:
        equipment |= EQUIPMENT_FLOPPY | (EQUIPMENT_SECOND_FLOPPY if drives[1] else 0)
    found = {
        FLOPPIES: drives[0] << 4 | drives[1],
        EQUIPMENT: equipment,
        BOOT_ORDER: order[1] << 4 | order[0],
        BOOT_ORDER_THIRD: order[2] << 4,
        LAST_CPU: cpus - 1,
        DISK_TYPES: 0,
        TRANSLATION: sum((disk.translation & 3) << 2 * n for n, disk in enumerate(disks[:4]) if disk),
    }
    for n, disk in enumerate(disks[:2]):
        if disk is not None:
            found[DISK_TYPES] |= 0x0F if n else 0xF0
            found[DISK_TYPE[n]] = USER_TYPE
            found |= {DISK_GEOMETRY[n] + at: value for at, value in enumerate(_user_type(disk))}
    return found


def _user_type(disk: DiskGeometry) -> bytes:
    """Nine bytes: no write precompensation, no landing zone of its own."""
    cylinders = disk.cylinders.to_bytes(2, "little")
    control = 0xC0 | (disk.heads > 8) << 3
    return cylinders + bytes((disk.heads, 0xFF, 0xFF, control)) + cylinders + bytes((disk.sectors,))
