"""What QEMU does where a command line says nothing."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from bt.cli import console, drives


def boot_as_qemu(given: Namespace) -> None:
    """A file without an option is a disk, and the firmware starts unless a kernel is named."""
    if given.image is not None:
        given.drives = [*given.drives, drives.SHORT["-hda"].replace(file=given.image)]
        given.image = None
    given.boots_firmware = True


def talk_as_qemu(given: Namespace) -> None:
    """Screen and serial port are in a window, here on the terminal, where there is one. The monitor asks as QEMU's."""
    given.monitor_program = "qemu"
    if given.serial is None and not given.no_defaults and not given.nographic:
        is_stdio_taken = _is_stdio_named(given)
        if given.display is None and not is_stdio_taken and _is_a_screen_to_be_had():
            given.display = console.TERMINAL
        # where the screen is, and with it the serial port in QEMU: nobody sees what is in a window that there is not
        has_window = given.display is not None or is_stdio_taken
        given.serial = ["vc" if has_window else "stdio"]


def _is_stdio_named(given: Namespace) -> bool:
    texts = (given.monitor, given.debugcon, *given.chardevs)
    return any("stdio" in text for text in texts if text)


def _is_a_screen_to_be_had() -> bool:
    streams = (sys.stdin, sys.stdout)
    are_terminals = all(stream is not None and stream.isatty() for stream in streams)
    return are_terminals and os.environ.get("TERM", "dumb") != "dumb"
