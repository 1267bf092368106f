"""Sessions that need a BIOS, once more with the one that is built in: by the same command lines and -bios builtin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.guests.on_bt import Bt
from tests.guests.session import Player, Screen, Session
from tests.guests.sessions import SESSIONS

BUILTIN = (
    "debian-sysvinit",
    "grub-cd",
    "grub-floppy",
    "grub-menu",
    "ipxe-iso",
    "isolinux-menu",
    "memtest-iso",
    "services-disk-isapc",
    "services-disk-pc",
    "services-disk-virtio",
    "services-floppy-isapc",
    "services-floppy-pc",
)
# memtest86+'s screen as a whole is compared with QEMU's under SeaBIOS; here it is to get through its first tests.
STEPS = {"memtest-iso": (Screen(r"Memtest86\+ v6\.10"), Screen(r"Test #3"), Screen(r"Errors: 0"))}


def sessions() -> Iterator[Session]:
    found = {session.name: replace(session, steps=STEPS.get(session.name, session.steps)) for session in SESSIONS}
    for name in BUILTIN:
        yield replace(found[name], arguments=f"{found[name].arguments} -bios builtin")


@pytest.mark.slow
@pytest.mark.parametrize("session", [pytest.param(session, id=session.name) for session in sessions()])
def test_session(session: Session, tmp_path: Path) -> None:
    vm = Bt(session.command_line(tmp_path))
    try:
        Player(vm, tmp_path).play(session.steps)
    finally:
        vm.close()
    session.after(tmp_path)
