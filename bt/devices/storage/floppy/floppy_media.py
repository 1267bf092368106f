"""Diskettes by the size of their image, and the drives they are in."""

from typing import NamedTuple

from bt.disks.disk import Disk
from bt.disks.image import SECTOR_BYTES

RATE_500, RATE_300, RATE_250, RATE_1000 = range(4)  # kbit/s, as the data rate registers have them
NO_DRIVE, DRIVE_360K, DRIVE_1200K, DRIVE_720K, DRIVE_1440K, DRIVE_2880K = range(6)  # as the CMOS RAM has them (10h)


class Geometry(NamedTuple):
    """One way to fill a diskette."""

    cylinders: int
    heads: int
    sectors: int  # a track
    rate: int
    drive: int

    @property
    def total(self) -> int:
        return self.cylinders * self.heads * self.sectors


# the formats of PC drives, and the two or three that squeeze more out of a 3.5" diskette
GEOMETRIES = (
    Geometry(40, 1, 8, RATE_250, DRIVE_360K),
    Geometry(40, 1, 9, RATE_250, DRIVE_360K),
    Geometry(40, 2, 8, RATE_250, DRIVE_360K),
    Geometry(40, 2, 9, RATE_250, DRIVE_360K),
    Geometry(80, 2, 9, RATE_250, DRIVE_720K),
    Geometry(80, 2, 10, RATE_250, DRIVE_720K),
    Geometry(80, 2, 15, RATE_500, DRIVE_1200K),
    Geometry(80, 2, 18, RATE_500, DRIVE_1440K),
    Geometry(80, 2, 20, RATE_500, DRIVE_1440K),
    Geometry(80, 2, 21, RATE_500, DRIVE_1440K),
    Geometry(82, 2, 21, RATE_500, DRIVE_1440K),
    Geometry(80, 2, 36, RATE_1000, DRIVE_2880K),
)
BY_SIZE = {geometry.total: geometry for geometry in GEOMETRIES}
USUAL = BY_SIZE[2880]


def geometry_of(sectors: int) -> Geometry:
    """That of an image of `sectors` sectors. One of no format's size is a 1.44 MB diskette, if that holds it."""
    if sectors in BY_SIZE:
        return BY_SIZE[sectors]
    return USUAL if sectors <= USUAL.total else GEOMETRIES[-1]


class FloppyDrive:
    """A drive: where its head is, and the diskette in it."""

    fields = ("cylinder", "has_changed")
    is_locked = is_open = False  # it has no lock and no tray

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk: Disk | None = None
        self.geometry = USUAL
        self.cylinder = 0
        self.has_changed = True  # the disk change line; a step, no mere seek, with a diskette in it resets it
        self.insert(disk)

    def insert(self, disk: Disk | None) -> None:
        """Change the diskette, or take it out; the caller closes the old disk."""
        self.disk = disk
        self.has_changed = True
        if disk is not None:
            self.geometry = geometry_of(disk.sectors)

    @property
    def kind(self) -> int:
        """What the CMOS RAM says of the drive: that which its first diskette needs."""
        return self.geometry.drive

    def step_to(self, cylinder: int) -> None:
        if self.disk is not None and cylinder != self.cylinder:
            self.has_changed = False
        self.cylinder = cylinder

    def sector(self, head: int, number: int) -> int | None:
        """The disk's sector under `head` in the present cylinder; None if the track has none of that number."""
        geometry = self.geometry
        there = head < geometry.heads and 1 <= number <= geometry.sectors and self.cylinder < geometry.cylinders
        if self.disk is None or not there:
            return None
        return (self.cylinder * geometry.heads + head) * geometry.sectors + number - 1

    def stored(self, lba: int) -> int:
        """How many sectors from `lba` on the image has: a short one reads as zeros beyond."""
        return max(0, self.disk.sectors - lba) if self.disk is not None else 0


SECTOR_SIZE_CODE = 2  # N: 128 << 2 is SECTOR_BYTES, the only size on PC diskettes
assert 128 << SECTOR_SIZE_CODE == SECTOR_BYTES
