"""The drives of a machine, as its configuration names them, and the disks that are in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from bt import arguments
from bt.errors import BadUsage

if TYPE_CHECKING:
    from bt.disks.disk import Disk

Interface = Literal["ide", "floppy", "virtio"]
DriveMedia = Literal["disk", "cdrom"]
PLACES: dict[Interface, int] = {"ide": 4, "floppy": 2, "virtio": 16}  # how many drives each has room for
CDROM_PLACE = 2  # where a CD-ROM drive is that nobody has given a place


@dataclass(frozen=True)
class Drive:
    """A drive as QEMU's -drive describes it: `file` of None is a drive with nothing in it.

    `index`: 0 to 3 of "ide" are the masters and slaves of the two channels in turn; without one it takes the first that
    is free, a CD-ROM's the third. `snapshot`: what is written is gone with the machine. BadUsage for what there is not.
    """

    file: str | None
    interface: Interface = "ide"
    media: DriveMedia = "disk"
    index: int | None = None
    read_only: bool = False
    snapshot: bool = False

    def __post_init__(self) -> None:
        arguments.one_of("interface", self.interface, get_args(Interface))
        arguments.one_of("media", self.media, get_args(DriveMedia))
        if self.index is not None:
            last = PLACES[self.interface] - 1
            arguments.whole_number("index", self.index, f"0 to {last} is wanted", least=0)
            arguments.require(self.index <= last, "index", self.index, f"0 to {last} is wanted")
        has_medium = self.file is not None
        removable = self.media == "cdrom" or self.interface == "floppy"
        arguments.require(has_medium or removable, "file", self.file, "a disk drive needs its image")
        is_cd = self.media == "cdrom" and self.interface != "ide"
        arguments.require(not is_cd, "media", self.media, f"a CD-ROM drive is on ide, not on {self.interface}")

    @property
    def place(self) -> str:
        """What the user calls the place."""
        return f"{self.interface} {self.index}"


def with_places(drives: Iterable[Drive]) -> tuple[Drive, ...]:
    """All of them with an index. Raises BadUsage where two want the same place, or there are too many."""
    taken: dict[tuple[Interface, int], Drive] = {}
    for drive in sorted(drives, key=lambda drive: drive.index is None):  # those that ask for a place first
        index = _free_place(drive, taken) if drive.index is None else drive.index
        placed = replace(drive, index=index)
        if (other := taken.get((drive.interface, index))) is not None:
            raise BadUsage(f"{drive.file}: {placed.place} has {other.file} already; give another index")
        taken[drive.interface, index] = placed
    return tuple(taken[key] for key in sorted(taken))


def _free_place(drive: Drive, taken: dict[tuple[Interface, int], Drive]) -> int:
    if drive.media == "cdrom" and (drive.interface, CDROM_PLACE) not in taken:
        return CDROM_PLACE
    for index in range(PLACES[drive.interface]):
        if (drive.interface, index) not in taken:
            return index
    raise BadUsage(f"{drive.file}: all {PLACES[drive.interface]} places of {drive.interface} are taken")


class Media:
    """The drives, and the disks in them, which are open until `close`."""

    def __init__(self, drives: Sequence[Drive], on_error: Callable[[str], None]) -> None:
        """Raises BadUsage for a file that cannot be used; nothing is open then."""
        self.drives = with_places(drives)
        self._disks: list[Disk] = []
        with ExitStack() as held:
            self._on_error = on_error
            self._by_drive = {drive: self._open(drive, held) for drive in self.drives}
            self._held = held.pop_all()

    def of(self, interface: Interface) -> dict[int, tuple[Drive, Disk | None]]:
        """Drives and what is in them, by index."""
        return {
            drive.index: (drive, self._by_drive[drive])
            for drive in self.drives
            if drive.interface == interface and drive.index is not None
        }

    @property
    def is_busy(self) -> bool:
        """Whether somebody's request is not answered yet, as far as it is answered by calling back."""
        return any(disk.outstanding for disk in self._disks)

    def close(self) -> None:
        """Do what was asked for, and give the files back; twice is fine."""
        self._held.close()

    def _open(self, drive: Drive, held: ExitStack) -> Disk | None:
        if drive.file is None:
            return None
        from bt.disks.disk import open_disk

        read_only = drive.read_only or drive.media == "cdrom"
        disk = open_disk(drive.file, read_only=read_only, snapshot=drive.snapshot, on_error=self._on_error)
        held.callback(disk.close)
        self._disks.append(disk)
        return disk
