"""The same sessions on bt, by the same command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guests.on_bt import Bt
from tests.guests.session import Player, Session
from tests.guests.sessions import SESSIONS


@pytest.mark.slow
@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_session(session: Session, tmp_path: Path) -> None:
    vm = Bt(session.command_line(tmp_path))
    try:
        Player(vm, tmp_path).play(session.steps)
    finally:
        vm.close()
    session.after(tmp_path)
