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


@pytest.mark.slow
@pytest.mark.parametrize("session", [pytest.param(session, id=session.name) for session in SESSIONS])
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
        assert 0.95 < time.monotonic() - start < 10  # on a busy host; it was 55 s once
    finally:
        vm.close()
