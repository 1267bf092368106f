"""The drives of a machine, as its configuration names them, and the disks that are in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from bt import arguments
from bt.errors import BadUsage
from bt.record import Record

if TYPE_CHECKING:
    from bt.disks.disk import Disk

Interface = Literal["ide", "floppy", "virtio"]
DriveMedia = Literal["disk", "cdrom"]
PLACES: dict[Interface, int] = {"ide": 4, "floppy": 2, "virtio": 16}  # how many drives each has room for
CDROM_PLACE = 2  # where a CD-ROM drive is that nobody has given a place


class Drive(Record):
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
        arguments.require(self.file is not None or self.is_removable, "file", self.file, "a disk drive needs its image")
        is_cd = self.media == "cdrom" and self.interface != "ide"
        arguments.require(not is_cd, "media", self.media, f"a CD-ROM drive is on ide, not on {self.interface}")

    @property
    def place(self) -> str:
        """What the user calls the place."""
        return f"{self.interface} {self.index}"

    @property
    def is_removable(self) -> bool:
        """Whether its medium can be taken out."""
        return self.media == "cdrom" or self.interface == "floppy"

    @property
    def name(self) -> str:
        """As QEMU's monitor calls it: "ide0-hd0", "ide1-cd0", "floppy0", "virtio0"."""
        if self.interface != "ide":
            return f"{self.interface}{self.index}"
        channel, number = divmod(self.index or 0, 2)
        return f"ide{channel}-{'cd' if self.media == 'cdrom' else 'hd'}{number}"


def with_places(drives: Iterable[Drive]) -> tuple[Drive, ...]:
    """All of them with an index. Raises BadUsage where two want the same place, or there are too many."""
    taken: dict[tuple[Interface, int], Drive] = {}
    for drive in sorted(drives, key=lambda drive: drive.index is None):  # those that ask for a place first
        index = _free_place(drive, taken) if drive.index is None else drive.index
        placed = drive.replace(index=index)
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


class Changer(Protocol):
    """What of a device takes another medium: a CD-ROM drive, a diskette drive."""

    @property
    def is_locked(self) -> bool:
        """The guest wants its medium to stay."""
        ...

    @property
    def is_open(self) -> bool:
        """The tray is out."""
        ...

    def insert(self, disk: Disk | None) -> None:
        """Change the medium, or take it out; the caller closes the old one."""
        ...


class Media:
    """The drives, and the disks in them, which are open until `close`."""

    def __init__(self, drives: Sequence[Drive], on_error: Callable[[str], None]) -> None:
        """Raises BadUsage for a file that cannot be used; nothing is open then."""
        self.drives = with_places(drives)
        self._changers: dict[str, Changer] = {}  # by the drive's name
        self._on_error = on_error
        self._disks: dict[str, Disk] = {}  # what is in them, by name
        with ExitStack() as held:
            held.callback(self.close)
            for drive in self.drives:
                if drive.file is not None:
                    self._disks[drive.name] = self._open(drive, drive.file)
            held.pop_all()

    def of(self, interface: Interface) -> dict[int, tuple[Drive, Disk | None]]:
        """Drives and what is in them, by index."""
        return {
            drive.index: (drive, self._disks.get(drive.name))
            for drive in self.drives
            if drive.interface == interface and drive.index is not None
        }

    @property
    def is_busy(self) -> bool:
        """Whether somebody's request is not answered yet, as far as it is answered by calling back."""
        return any(disk.outstanding for disk in self._disks.values())

    def close(self) -> None:
        """Do what was asked for, and give the files back; twice is fine."""
        while self._disks:
            self._disks.popitem()[1].close()

    # -- removable media ----------------------------------------------------------------------------------------------

    def connect(self, drive: Drive, changer: Changer) -> None:
        """What has the drive's medium."""
        self._changers[drive.name] = changer

    def changer(self, drive: Drive) -> Changer:
        """It. Raises BadUsage where the medium cannot be taken out."""
        if drive.name not in self._changers:
            raise BadUsage(f"{drive.name}: its medium cannot be taken out")
        return self._changers[drive.name]

    def named(self, name: str) -> Drive:
        """The drive of this name. Raises BadUsage."""
        for drive in self.drives:
            if drive.name == name:
                return drive
        raise BadUsage(f"no drive {name!r}: there are {', '.join(drive.name for drive in self.drives) or 'none'}")

    def change(self, name: str, file: str | None, *, force: bool = False) -> None:
        """Put `file` into a drive for what is there, or take that out (None). The guest notices.

        Raises BadUsage, nothing changed, where that cannot be: the file is none, the drive's medium cannot be taken
        out, or the guest has locked it and `force` is not given.
        """
        drive = self.named(name)
        changer = self.changer(drive)
        if changer.is_locked and not force:
            raise BadUsage(f"{name}: the guest has locked it; have the guest eject it, or force it")
        if file is not None and file == drive.file:
            self.change(name, None, force=force)  # it may be open once only
        new = None if file is None else self._open(drive, file)
        changer.insert(new)
        if (old := self._disks.pop(name, None)) is not None:
            old.close()
        if new is not None:
            self._disks[name] = new
        self.drives = tuple(each.replace(file=file) if each.name == name else each for each in self.drives)

    def _open(self, drive: Drive, file: str) -> Disk:
        from bt.disks.disk import open_disk

        read_only = drive.read_only or drive.media == "cdrom"
        return open_disk(file, read_only=read_only, snapshot=drive.snapshot, on_error=self._on_error)
