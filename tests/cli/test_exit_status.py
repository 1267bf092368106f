"""Exit statuses: one table, and everybody who reads it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bt.bench.process import MeasurementFailed
from bt.devices.debug.debug_exit import DebugExit
from bt.end import End, statuses
from bt.errors import BadImage, BadUsage, BtError
from guest_images.assembler import assemble
from tests.cli import code
from tests.cli.conftest import Bt

ROOT = Path(__file__).parents[2]
OWN = sorted(status for status in statuses() if status is not None)


def test_own_statuses_are_even() -> None:
    assert OWN == [0, 2, 4, 6, 8, 70, 130]
    assert [status for status in OWN if status % 2] == []


def test_every_end_is_under_its_status() -> None:
    assert sorted(end for ends in statuses().values() for end in ends) == sorted(End)
    assert [end for end in End if end.status is None] == [End.EXIT]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_debug_exit_is_odd(size: int) -> None:
    left: list[int] = []
    port = DebugExit(left.append)
    for value in (*range(256), 1 << 8 * size - 1, (1 << 8 * size) - 1):
        port.write(0, size, value)
    assert len(left) == 258
    assert all(status & 1 for status in left)
    assert not {status & 0xFF for status in left} & set(OWN)


def test_errors_have_their_status() -> None:
    assert {error.exit_code for error in (BtError, BadImage, BadUsage)} == {End.BAD_USAGE.status}
    assert MeasurementFailed.exit_code == 1  # of `bt bench`


def test_the_readme_lists_them() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (odd|\d+) \| `([\w-]+)` \| (.+) \|$", readme, re.MULTILINE)
    assert rows == [
        ("odd" if status is None else str(status), end.value, end.sentence)
        for status, ends in statuses().items()
        for end in ends
    ]


def test_the_help_lists_them(bt: Bt) -> None:
    said = bt("run", "--help").stdout
    _, _, table = said.partition("exit status")
    found = re.findall(r"^ +(odd|\d+)  (.+)$", table, re.MULTILINE)
    assert found == [
        ("odd" if status is None else str(status), "; ".join(end.sentence for end in ends))
        for status, ends in statuses().items()
    ]


@pytest.mark.parametrize(
    ("source", "options", "end"),
    [
        (code.EXIT_WITH_21, [], End.EXIT),
        (code.HALT, [], End.HALTED),
        ("mov al, 1\nout 0x92, al\nhere:\njmp here", [], End.RESET),
        (code.ENDLESS, ["--max-insns", "10"], End.MAX_INSNS),
        (code.ENDLESS, ["--timeout", "0.1"], End.TIMEOUT),
        (code.TRIPLE_FAULT, [], End.TRIPLE_FAULT),
    ],
)
def test_flat_guests(bt: Bt, tmp_path: Path, source: str, options: list[str], end: End) -> None:
    guest, record = code.write(tmp_path / "guest.bin", source), tmp_path / "run.json"
    done = bt("run", guest, *code.FLAT, *options, "--json", str(record))
    assert done.returncode == end.exit_status(43)
    assert f'"reason": "{end.value}"' in record.read_text()
    assert done.stderr.startswith(f"bt: {end.sentence} " if end.status else "")
    assert bool(done.stderr) is bool(end.status)


@pytest.mark.parametrize(
    ("source", "end", "detail"),
    [
        ("mov ax, 0x0e41\nint 0x10", End.BIOS_SERVICE, "int 0x10 with AX=0x0e41; bt has no BIOS"),
        ("nop\nud2", End.NO_HANDLER, "0x06 (#UD) at 0000:7c01"),
    ],
)
def test_boot_sectors(bt: Bt, tmp_path: Path, source: str, end: End, detail: str) -> None:
    guest = tmp_path / "boot.img"
    guest.write_bytes(assemble(source, 16, 0x7C00).ljust(510, b"\0") + b"\x55\xaa")
    done = bt("run", "--boot-sector", str(guest))
    assert done.returncode == end.status
    assert re.fullmatch(rf"bt: {end.sentence} after \d+ instructions: {re.escape(detail)}\n", done.stderr)


INTERNAL = """
import sys
from bt.cli.main import main
from bt.devices.serial.uart16550 import Uart16550

def broken(self, offset, size, value):
    raise ZeroDivisionError("first line\\nsecond line")

Uart16550.write = broken
sys.exit(main(sys.argv[1:]))
"""


def failing(*arguments: str, debug: str | None = None) -> subprocess.CompletedProcess[str]:
    """`bt` with a serial port that fails."""
    environment = {name: value for name, value in os.environ.items() if name != "BT_DEBUG"}
    return subprocess.run(
        [sys.executable, "-c", INTERNAL, *arguments],
        env=environment | ({} if debug is None else {"BT_DEBUG": debug}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_an_internal_error_is_one_line_and_where_to_report(engine: str) -> None:
    done = failing("run", "hello", "--engine", engine)
    assert done.returncode == End.INTERNAL_ERROR.status
    assert done.stderr.count("\n") == 1
    assert re.fullmatch(
        r"bt: internal error: ZeroDivisionError: first line second line \(bt/memory/bus\.py:\d+\); "
        r"please report it as an issue of bt, with the traceback that BT_DEBUG=0 in the environment shows\n",
        done.stderr,
    )


def test_bt_debug_shows_the_traceback() -> None:
    done = failing("run", "hello", debug="0")
    assert done.returncode == End.INTERNAL_ERROR.status
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.splitlines()[-1].startswith("bt: internal error: ZeroDivisionError: ")
    assert "unit " not in done.stderr


def test_other_commands_fail_alike() -> None:
    done = failing("diff", "hello")
    assert done.returncode == End.INTERNAL_ERROR.status
    assert done.stderr.count("\n") == 1
