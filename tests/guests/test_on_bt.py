"""The same sessions on bt, by the same command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.on_bt import Bt
from tests.guests.session import Player, Session
from tests.guests.sessions import SESSIONS

DIRECT = "a kernel loaded without firmware finds IDE channels switched off, PCI interrupts unset and no text mode"
SLOW = "firmware's waiting loops in 16-bit code are interpreted: minutes"
# sessions that pass on QEMU only, and why; who changes that takes the line away
NOT_YET = {
    "busybox": DIRECT,
    "installer-serial": "not tried to its end",
    "installer-vga": DIRECT,
    "memtest-bin": DIRECT,
    "debian-systemd": "not tried to its end",
    "grub-firmware": "its search for disks waits for minutes, with nothing on the screen",
    "u-boot": "SeaBIOS's VGA BIOS gets #GP at C000:3B5A, a 32-bit address in real mode; QEMU checks no limits",
    "grub-floppy": SLOW,
    "grub-cd": SLOW,
    "ipxe-iso": SLOW,
}


def parameters() -> list[object]:
    return [
        pytest.param(session, id=session.name, marks=pytest.mark.xfail(run=False, reason=NOT_YET[session.name]))
        if session.name in NOT_YET
        else pytest.param(session, id=session.name)
        for session in SESSIONS
    ]


@pytest.mark.slow
@pytest.mark.parametrize("session", parameters())
def test_session(session: Session, tmp_path: Path) -> None:
    vm = Bt(session.command_line(tmp_path))
    try:
        Player(vm, tmp_path).play(session.steps)
    finally:
        vm.close()
    session.after(tmp_path)


def test_what_is_not_yet_is_a_session() -> None:
    assert set(NOT_YET) <= {session.name for session in SESSIONS}
