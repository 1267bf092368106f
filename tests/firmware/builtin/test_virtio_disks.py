"""INT 13h of virtio disks, whose device the built-in BIOS does not ask: what is under way, and what goes wrong."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bt.end import End
from bt.firmware.builtin.bios import Bios
from bt.firmware.builtin.disks.direct import DirectTransfer
from bt.firmware.builtin.disks.transfer import CONTROLLER_FAILED, DATA_ERROR, WRITE_PROTECTED
from bt.machine.media import Drive
from tests.firmware.builtin.calls import BUFFER, Caller, started

READ_TWO = {"eax": 0x0202, "ecx": 0x0005, "edx": 0x80, "ebx": BUFFER}  # sectors 4 and 5
WRITE_ONE = {"eax": 0x0301, "ecx": 0x0005, "edx": 0x81, "ebx": BUFFER}
CLEAR = bytes(1024)
FIVE_AND_SIX = b"".join(number.to_bytes(4, "little") * 128 for number in (4, 5))


def bios(caller: Caller) -> Bios:
    found = caller.machine.board.devices["built-in BIOS"]
    assert isinstance(found, Bios)
    return found


def begin(caller: Caller, call: dict[str, int]) -> DirectTransfer:
    """As far as the host has been asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caller.machine.clock, "skip_to_next_event", lambda limit_ns=0: True)  # nor does time pass
        for limit in range(1, 1000):
            caller.call(0x13, limit=limit, **call)
            transfer = bios(caller).transfer
            if isinstance(transfer, DirectTransfer) and transfer.waits:
                return transfer
    raise AssertionError("no transfer was ever under way")


def begin_reading(caller: Caller) -> DirectTransfer:
    caller.write(BUFFER, CLEAR)
    return begin(caller, READ_TWO)


def test_a_snapshot_while_sectors_are_read(tmp_path: Path) -> None:
    with started(tmp_path, "builtin", interface="virtio") as caller:
        begin_reading(caller)
        with caller.machine.snapshot() as snapshot:
            for _ in range(2):
                assert caller.read(BUFFER, 1024) == CLEAR
                assert caller.machine.run(timeout=60).reason is End.HALTED
                assert caller.read(BUFFER, 1024) == FIVE_AND_SIX
                caller.machine.restore(snapshot)


def test_a_reset_while_sectors_are_read(tmp_path: Path) -> None:
    with started(tmp_path, "builtin", interface="virtio") as caller:
        begin_reading(caller)
        caller.machine.reset()
        assert not bios(caller).pc.direct[0].is_busy
        assert caller.machine.run(timeout=60).reason is End.HALTED
        assert bios(caller).transfer is None
        answer = caller.call(0x13, **READ_TWO)
        assert (answer.carry, caller.read(BUFFER, 1024)) == (0, FIVE_AND_SIX)


def test_another_call_while_sectors_are_read(tmp_path: Path) -> None:
    """A guest that leaves a service by an interrupt and makes the next call: the first one's data come to nobody."""
    with started(tmp_path, "builtin", interface="virtio") as caller:
        begin_reading(caller)
        assert caller.call(0x13, eax=0x0000, edx=0x80).carry == 0
        assert caller.read(BUFFER, 1024) == CLEAR


def test_what_goes_wrong(tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.write_bytes(bytes(1 << 20))
    drive = Drive(str(second), "virtio", read_only=True)
    with started(tmp_path, "builtin", drive, interface="virtio") as caller:
        answer = caller.call(0x13, **WRITE_ONE)
        assert (answer.carry, answer.ah) == (1, WRITE_PROTECTED)
        transfer = begin_reading(caller)
        bios(caller).on_disk(OSError(errno.EIO, "the medium"))
        assert transfer.step(bios(caller).pc) == DATA_ERROR


def test_a_write_that_the_host_has_no_room_for(tmp_path: Path) -> None:
    with started(tmp_path, "builtin", interface="virtio") as caller:
        transfer = begin(caller, WRITE_ONE | {"edx": 0x80})
        bios(caller).on_disk(OSError(errno.ENOSPC, "no room"))
        assert transfer.step(bios(caller).pc) == CONTROLLER_FAILED
