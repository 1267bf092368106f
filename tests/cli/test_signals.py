"""Signals that end bt: the terminal as it was, the shell told which; output that nobody reads; full disks."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import code
from tests.everyday import one_in

BT = (sys.executable, "-m", "bt.cli.main")
ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)
READY = code.READY.encode()
BUSY = code.SAY_READY + code.ENDLESS
IDLE = BUSY.replace("here:\n", "sti\nhere:\nhlt\n")
CHATTY = "mov edx, 0x3f8\nmov al, 10\nhere:\nout dx, al\njmp here"


def hear_signals() -> None:
    """Programs that a shell starts in the background, as these tests may be, are deaf to these."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A pseudo-terminal that stays open when its program has ended, so that it can be looked at."""

    def __init__(self, *command: str) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            command,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            preexec_fn=self._log_in,
        )

    def _log_in(self) -> None:
        """As a login shell would start a program."""
        hear_signals()
        os.login_tty(self.slave)

    def read_until(self, wanted: bytes, seconds: float = 30) -> bytes:
        seen, deadline = b"", time.monotonic() + seconds
        while wanted not in seen and select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
            seen += os.read(self.master, 1024)
        return seen

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[list[Terminal]]:
    started: list[Terminal] = []
    yield started
    for terminal in started:
        terminal.close()


def start(guests: list[Terminal], tmp_path: Path, source: str, *options: str) -> Terminal:
    """`bt run` of a guest that has said READY."""
    terminal = Terminal(*BT, "run", code.write(tmp_path / "guest.bin", source), *code.FLAT, *options)
    guests.append(terminal)
    assert READY in terminal.read_until(READY)
    assert terminal.is_raw
    return terminal


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("source", [BUSY, IDLE], ids=["busy", "halted"])
@pytest.mark.parametrize("engine", ["interp", "bt"])
def test_a_signal_restores_the_terminal_and_ends_bt(
    guests: list[Terminal], tmp_path: Path, source: str, engine: str, number: signal.Signals
) -> None:
    terminal = start(guests, tmp_path, source, "--engine", engine)
    terminal.process.send_signal(number)
    assert terminal.process.wait(20) == -number
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_a_terminal_that_is_held_up_does_not_hold_up_the_signal(guests: list[Terminal], tmp_path: Path) -> None:
    """Nobody reads what the guest prints, so that bt sits in a write."""
    terminal = start(guests, tmp_path, BUSY.replace(code.ENDLESS, CHATTY))
    time.sleep(1)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(20) == -signal.SIGTERM
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_the_end_of_the_terminal_ends_bt(guests: list[Terminal], tmp_path: Path) -> None:
    terminal = start(guests, tmp_path, BUSY)
    os.close(terminal.slave)
    os.close(terminal.master)
    assert terminal.process.wait(20) == -signal.SIGHUP
    terminal.master, terminal.slave = pty.openpty()


def test_a_fault_of_bt_itself_restores_the_terminal(guests: list[Terminal], tmp_path: Path) -> None:
    guest = code.write(tmp_path / "guest.bin", BUSY.replace(code.ENDLESS, "in al, 0x71\n"))
    program = (
        "import sys; from bt.cli.main import main; from bt.devices.chipset.cmos_rtc import CmosRtc\n"
        "def broken(*arguments): raise ZeroDivisionError\n"
        "CmosRtc.read = broken; sys.exit(main(sys.argv[1:]))"
    )
    terminal = Terminal(sys.executable, "-c", program, "run", guest, *code.FLAT)
    guests.append(terminal)
    assert b"bt: internal error: ZeroDivisionError" in terminal.read_until(b"shows")
    assert terminal.process.wait(20) == 70
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_what_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    guest = code.write(tmp_path / "guest.bin", BUSY)
    command = [*BT, "run", guest, *code.FLAT]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == READY
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM


NOBODY_READS = [
    ["run", "hello", "-append", "n=100000"],
    ["run", "hello", "--json", "-"],
    ["run", "--help"],
    ["images"],
    ["explain", "hello", "--blocks", "20"],
    ["diff", "hello"],
    ["bench", "--read", "BENCH"],
    ["bench", "--help"],
    ["--help"],
    ["--version"],
]


@pytest.mark.parametrize(("arguments", "unbuffered"), one_in(4, NOBODY_READS, ["", "1"]), ids=" ".join)
def test_output_that_nobody_reads(tmp_path: Path, arguments: list[str], unbuffered: str) -> None:
    """Quietly, whatever wrote it and when: `head` would have read a line."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    if "BENCH" in arguments:
        record = tmp_path / "bench.json"
        subprocess.run(
            [*BT, "bench", "nano-in", "--engines=interp", "--runs=1", "--seconds=0.01", "--json", str(record)],
            check=True,
            capture_output=True,
            timeout=120,
        )
        arguments = [str(record) if each == "BENCH" else each for each in arguments]
    with subprocess.Popen(
        [*BT, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == -signal.SIGPIPE


def test_a_shell_sees_sigpipe() -> None:
    line = f"{' '.join(BT)} run hello -append n=100000 | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("hello\n141\n", "")


@pytest.mark.parametrize("arguments", [["run", "hello"], ["images"], ["--help"], ["run", "hello", "--json", "-"]])
def test_a_full_disk_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*BT, *arguments], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (2, "bt: cannot write: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "status"), [(["run", "hello"], 2), (["run", "hello", "--serial", "null"], 1), (["images"], 0)]
)
def test_without_a_standard_output(arguments: list[str], status: int) -> None:
    """`>&-` of a shell."""
    done = subprocess.run(
        ["bash", "-c", '"$@" >&-', "bash", *BT, *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == status
    assert done.stderr == (
        "bt: --serial stdio: standard output is closed; give --serial null or file:PATH\n" if status == 2 else ""
    )


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "bt: stopped by the user\n"), (signal.SIGTERM, -signal.SIGTERM, "")],
)
def test_a_signal_while_no_guest_runs(number: signal.Signals, status: int, said: str) -> None:
    """It comes while a comparison looks at pages."""
    program = (
        "import os, sys; from bt.cli.main import main; from bt.inspect.compare.peer import MachinePeer\n"
        f"def interrupted(self): os.kill(os.getpid(), {number}); return {{}}\n"
        "MachinePeer.pages = interrupted; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "diff", "hello"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=hear_signals,
    )
    assert (done.returncode, done.stderr) == (status, said)
