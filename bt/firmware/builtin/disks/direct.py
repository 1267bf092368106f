"""Sectors of a disk whose controller the BIOS does not drive.

Virtio's rings would have to lie in memory that is the guest's. So the host's disk is asked without its device, which
does not hear of it; it takes as long, and is in the same order with what the device asks for.
"""

from __future__ import annotations

import errno
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bt.firmware.builtin.disks.transfer import (
    CONTROLLER_FAILED,
    DATA_ERROR,
    GOOD,
    MOST_SECTORS,
    SECTOR,
    WRITE_PROTECTED,
)

if TYPE_CHECKING:
    from bt.firmware.builtin.pc import Pc


@dataclass
class DirectTransfer:
    """With disk `number` of `Pc.direct`."""

    owner: int
    number: int
    lba: int
    left: int
    address: int
    command: str = "read"  # or write, verify
    chunk: int = 0  # sectors that the host has been asked for, 0: none
    status: int = GOOD
    done: int = 0  # sectors

    @property
    def waits(self) -> bool:
        return self.chunk > 0

    @property
    def done_sectors(self) -> int:
        return self.done

    def step(self, pc: Pc) -> int | None:
        if self.status != GOOD or not self.left:
            return self.status
        if not self.chunk:
            self.chunk = min(self.left, MOST_SECTORS)
            port = pc.direct[self.number]
            if self.command == "write":
                port.write(self.lba, pc.read(self.address, self.chunk * SECTOR))
            else:
                port.read(self.lba, self.chunk)
        return None

    def delivered(self, pc: Pc, error: OSError | None) -> None:
        """The host has done the chunk."""
        n, self.chunk = self.chunk, 0
        if error is not None:
            failed = DATA_ERROR if self.command != "write" else CONTROLLER_FAILED
            self.status = WRITE_PROTECTED if error.errno == errno.EROFS else failed
            return
        if self.command == "read":
            pc.write(self.address, bytes(pc.direct[self.number].data))
        self.address += n * SECTOR
        self.lba += n
        self.left -= n
        self.done += n

    def abandon(self, pc: Pc) -> None:
        pc.direct[self.number].forget()

    def state(self) -> dict[str, Any]:
        return {"medium": "direct"} | asdict(self)
