"""The sessions on QEMU, which is their oracle: `python -m tests.guests.on_qemu [NAME...]`; all take some minutes.

Run it when a session or what it runs has changed. A session that does not pass here says nothing about bt.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.guests.qemu import Qemu
from tests.guests.session import Player, Session
from tests.guests.sessions import SESSIONS


def play(session: Session, scratch: Path, shots: Path) -> None:
    """Take QEMU through a session. Raises AssertionError."""
    vm = Qemu(session.command_line(scratch, qemu=True), scratch)
    try:
        Player(vm, shots).play(session.steps)
    finally:
        vm.close()
    session.after(scratch)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.guests.on_qemu", description="Play sessions on QEMU.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="which (default: all)")
    parser.add_argument("--shots", metavar="DIR", type=Path, help="keep screenshots there")
    given = parser.parse_args()
    failures = 0
    for session in SESSIONS:
        if given.names and session.name not in given.names:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            try:
                play(session, Path(scratch), given.shots or Path(scratch))
                outcome = "passed"
            except AssertionError as error:
                failures += 1
                outcome = f"FAILED: {error}"
        print(f"{session.name:24} {time.monotonic() - start:6.1f} s  {outcome}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
