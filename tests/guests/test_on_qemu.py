"""The sessions on QEMU, which is their oracle: a session that does not pass here says nothing about bt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.guests.qemu import PROGRAM, Qemu
from tests.guests.session import Player, Session
from tests.guests.sessions import SESSIONS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed"),
]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_session(session: Session, tmp_path: Path) -> None:
    vm = Qemu(session.command_line(tmp_path), tmp_path)
    try:
        Player(vm, tmp_path).play(session.steps)
    finally:
        vm.close()
    session.after(tmp_path)
