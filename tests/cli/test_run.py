"""`bt run`: exit codes, limits, output, and errors in one line."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import guest_images
from tests.cli import code
from tests.cli.conftest import Bt

ENGINES = ("interp", "bt")
HELLO = guest_images.image("hello")
MASKED_HALT = "mov al, 0xff\nout 0x21, al\nout 0xa1, al\nsti\nhere:\nhlt\njmp here\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_guest_output_and_status(bt: Bt, engine: str) -> None:
    done = bt("run", "hello", "--engine", engine)
    assert (done.stdout, done.returncode, done.stderr) == (HELLO.transcript, HELLO.exit_status, "")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "options", "status", "said"),
    [
        (code.EXIT_WITH_21, [], 43, ""),
        (code.TRIPLE_FAULT, [], 6, r"bt: triple fault at 0008:00100007 after 2 instructions\n(?:  .*\n?)+"),
        (code.HALT, [], 0, ""),
        (code.ENDLESS, ["--max-insns", "12345"], 4, "bt: stopped by --max-insns after 12,345 instructions"),
        (code.ENDLESS, ["--max-insns", "1e6"], 4, "bt: stopped by --max-insns after 1,000,000 instructions"),
    ],
)
def test_how_a_run_ends(
    bt: Bt, tmp_path: Path, engine: str, source: str, options: list[str], status: int, said: str
) -> None:
    guest = code.write(tmp_path / "guest.bin", source)
    done = bt("run", guest, *code.FLAT, "--engine", engine, *options)
    assert done.returncode == status
    assert re.fullmatch(said, done.stderr.strip())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("limit", ["20", "100000"])
def test_an_exception_that_its_own_delivery_raises(bt: Bt, tmp_path: Path, engine: str, limit: str) -> None:
    """For ever, as far as the guest is concerned; limits end it like any guest."""
    guest = code.write(tmp_path / "guest.bin", code.ENDLESS_DELIVERY)
    done = bt("run", guest, *code.FLAT, "--engine", engine, "--max-insns", limit)
    assert (done.returncode, done.stderr) == (4, f"bt: stopped by --max-insns after {int(limit):,} instructions\n")


@pytest.mark.parametrize("engine", ENGINES)
def test_timeout_ends_a_guest_that_does_not(bt: Bt, tmp_path: Path, engine: str) -> None:
    guest = code.write(tmp_path / "guest.bin", code.ENDLESS)
    start = time.monotonic()
    done = bt("run", guest, *code.FLAT, "--engine", engine, "--timeout", "0.5")
    assert done.returncode == 4
    assert done.stderr.startswith("bt: stopped by --timeout after ")
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "source",
    [code.ENDLESS, MASKED_HALT],
    ids=["busy", "halted"],
)
def test_ctrl_c_ends_it_promptly(tmp_path: Path, engine: str, source: str) -> None:
    guest = code.write(tmp_path / "guest.bin", code.SAY_READY + source)
    command = [sys.executable, "-m", "bt.cli.main", "run", guest, *code.FLAT, "--engine", engine]
    reader, writer = os.pipe()  # an open standard input, so that waiting for input is not the end
    with subprocess.Popen(command, stdin=reader, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == code.READY
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    os.close(reader)
    os.close(writer)
    assert process.returncode == 130
    assert said.startswith("bt: stopped by the user after ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "bt: no IMAGE"),
        (["run", "no-such-guest"], "bt: no-such-guest: no such file, and no guest of this name"),
        (["run", "hello", "-kernel", "x"], "bt: IMAGE hello and -kernel x: give one of them"),
        (["run", "hello", "-m", "lots"], "bt: argument -m/--memory: 'lots' is no size"),
        (["run", "hello", "-m", "1"], "bt: argument -m/--memory: 1: a guest has 2M to 63.5G"),
        (["run", "hello", "-m", "70000000K"], "bt: argument -m/--memory: 70000000K: a guest has 2M to 63.5G"),
        (["run", "hello", "--engine", "jit"], "bt: argument -e/--engine: invalid choice: 'jit'"),
        (["run", "hello", "--serial", "tcp"], "bt: --serial tcp: there are stdio, file:PATH, pty, tcp:HOST:PORT, "),
        (["run", "hello", "--serial", "file:/no/such/place"], "bt: --serial file:/no/such/place: No such file"),
        (["run", "hello", "--json", "/no/such/place"], "bt: --json /no/such/place: No such file"),
        (["run", "hello", "--max-insns", "0"], "bt: argument --max-insns: 0: must be positive"),
        (["run", "hello", "--timeout", "soon"], "bt: argument --timeout: 'soon' is no time"),
        (["run", "hello", "--flat", "x"], "bt: argument --flat: 'x' is no address"),
        (["run", "hello", "--flat", "0x100000", "-append", "a"], "bt: hello.elf: a raw image cannot take -append"),
        (["run", "hello", "--frobnicate"], "bt: --frobnicate: no such option; "),
        (["run", __file__], "bt: test_run.py: a text file, not a guest"),
        (["run", "/"], "bt: /: not a regular file"),
        (["walk"], "bt: walk: no such command"),
        (["bench", "no-such-guest", "--engines", "interp"], "bt: no-such-guest: no built-in guest of this name"),
        (["bench", "--engines", "jit"], "bt: --engines jit: there are"),
        (["bench", "--peers", "kvm"], "bt: --peers kvm: there are"),
        (["bench", "--read", "/no/such/place"], "bt: /no/such/place: No such file"),
    ],
)
def test_errors_are_one_line(bt: Bt, arguments: list[str], said: str) -> None:
    done = bt(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_kernel_and_append_as_qemu_spells_them(bt: Bt) -> None:
    done = bt("run", "-kernel", str(HELLO.path), "-append", "n=3", "-m", "32M")
    assert done.stdout.count("Hello, world") == 3


def test_python_m_bt_is_bt() -> None:
    done = subprocess.run([sys.executable, "-m", "bt", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("bt ")


def test_serial_to_a_file(bt: Bt, tmp_path: Path) -> None:
    done = bt("run", "hello", "--serial", f"file:{tmp_path / 'serial.txt'}")
    assert done.stdout == ""
    assert (tmp_path / "serial.txt").read_text() == HELLO.transcript


def test_serial_to_nowhere(bt: Bt) -> None:
    done = bt("run", "hello", "--serial", "null")
    assert (done.stdout, done.returncode) == ("", HELLO.exit_status)


@pytest.mark.parametrize("engine", ENGINES)
def test_json_says_how_it_went(bt: Bt, tmp_path: Path, engine: str) -> None:
    path = tmp_path / "run.json"
    bt("run", "hello", "--engine", engine, "--json", str(path))
    record = json.loads(path.read_text())
    assert record["schema"] == "bt.run/1"
    assert (record["engine"], record["reason"], record["status"]) == (engine, "exit", HELLO.exit_status)
    assert record["instructions"] == 919
    assert record["wall_seconds"] > 0
    assert record["exits"]["io"] >= HELLO.transcript.count("\n")


def test_stats_leave_standard_output_to_the_guest(bt: Bt) -> None:
    done = bt("run", "hello", "--stats")
    assert done.stdout == HELLO.transcript
    lines = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in done.stderr.splitlines()}
    assert (lines["ended by"], lines["instructions"]) == ("exit", "919")


@pytest.mark.parametrize("engine", ENGINES)
def test_piped_input_reaches_the_guest(bt: Bt, tmp_path: Path, engine: str) -> None:
    guest = code.write(tmp_path / "guest.bin", code.ECHO)
    done = bt(
        "run", guest, *code.FLAT, "--engine", engine, "--timeout", "30", stdin="a long line, longer than a FIFO, q"
    )
    assert done.stdout == ">a long line, longer than a FIFO, q"
    assert done.returncode == (ord("q") << 1 | 1) & 0xFF


def test_output_into_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bt.cli.main", "run", "hello", "-append", "n=1000"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == -signal.SIGPIPE


class Terminal:
    """A pseudo-terminal with `bt run` of the echo guest on it."""

    def __init__(self, guest: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-m", "bt.cli.main", "run", guest, *code.FLAT])

    def type(self, data: bytes) -> None:
        os.write(self.fd, data)

    def read_until(self, wanted: bytes, seconds: float = 20) -> bytes:
        seen, deadline = b"", time.monotonic() + seconds
        while wanted not in seen and select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                seen += os.read(self.fd, 1024)
            except OSError:  # the other end is closed
                break
        return seen

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """The guest runs: from now on nobody but it echoes."""
    started = Terminal(code.write(tmp_path / "guest.bin", code.ECHO))
    assert started.read_until(b">").endswith(b">")
    return started


def test_ctrl_a_x_leaves_the_terminal(terminal: Terminal) -> None:
    terminal.type(b"A")
    assert terminal.read_until(b"A") == b"A"
    terminal.type(b"\x01x")
    assert b"bt: stopped by the user" in terminal.read_until(b"instructions")
    assert terminal.wait() == 130


def test_ctrl_a_twice_is_one_ctrl_a(terminal: Terminal) -> None:
    terminal.type(b"\x01\x01c")
    assert terminal.read_until(b"c") == b"\x01c"
    terminal.type(b"q")
    assert terminal.read_until(b"q") == b"q"
    assert terminal.wait() == (ord("q") << 1 | 1) & 0xFF


def test_ctrl_c_on_the_terminal_is_the_guests(terminal: Terminal) -> None:
    terminal.type(b"\x03\x1a\x1cq")
    assert terminal.read_until(b"q") == b"\x03\x1a\x1cq"
    assert terminal.wait() == (ord("q") << 1 | 1) & 0xFF


@pytest.mark.parametrize("command", ["run", "diff", "explain"])
def test_cpu_models_are_listed(bt: Bt, command: str) -> None:
    done = bt(command, "--cpu", "help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pentium4 (default)   apic clflush cmov" in done.stdout


def test_an_unknown_cpu_is_one_line(bt: Bt) -> None:
    done = bt("run", "hello", "-cpu", "80286")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bt: --cpu 80286: no model '80286'; there are 486, pentium, pentium3, pentium4")
    assert done.stderr.count("\n") == 1
