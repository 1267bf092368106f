"""The same sessions on bt, by the same command lines."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.guests.busybox import BUSYBOX
from tests.guests.on_bt import Bt
from tests.guests.on_pty import OnPty
from tests.guests.session import Player, Run, Serial, Session
from tests.guests.sessions import SESSIONS

# sessions that pass on QEMU only, and why; who changes that takes the line away
NOT_YET = {
    # it gives the VGA BIOS data segments of 64 KiB (GDT entry 30h), which reads the EDID at a 32-bit address in them:
    # #GP on a processor, while QEMU's TCG checks no limits
    "u-boot": "#GP in the VGA BIOS at C000:3B5A, beyond the limit that U-Boot has set",
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


@pytest.mark.slow
def test_busybox_on_a_terminal(tmp_path: Path) -> None:
    vm = OnPty(BUSYBOX.command_line(tmp_path))
    try:
        Player(vm, tmp_path).play(BUSYBOX.steps)
    finally:
        vm.close()


@pytest.mark.slow
def test_a_second_on_a_terminal(tmp_path: Path) -> None:
    """By the host's clock a second is one of the host's, too."""
    vm = OnPty([*BUSYBOX.command_line(tmp_path), "--clock", "host"])
    try:
        player = Player(vm, tmp_path)
        player.play([Serial("bt# "), Run("true")])
        start = time.monotonic()
        player.play([Run("sleep 1")])
        assert 0.95 < time.monotonic() - start < 3  # on a loaded host; it was 55 s once
    finally:
        vm.close()


def test_what_is_not_yet_is_a_session() -> None:
    assert set(NOT_YET) <= {session.name for session in SESSIONS}
