"""-s, -gdb and -S with the real GDB, and the protocol by hand."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import guest_images
from bt.gdb.packets import PacketReader, Sign, packet
from bt.symbols.elf_symbols import Symbols
from tests.chardev.test_chardevs import free_port
from tests.cli import code
from tests.cli.test_public_lines import boot_sector

GDB = shutil.which("gdb")
needs_gdb = pytest.mark.skipif(GDB is None, reason="gdb is not installed: tests/install-debian.sh")
HELLO = guest_images.image("hello").path
SYMBOLS = Symbols(HELLO.read_bytes())


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`bt-qemu` with a GDB server, and its port."""
    port = free_port()
    command = [sys.executable, "-m", "bt.cli.qemu.main", *arguments, "-gdb", f"tcp::{port}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process, port
        finally:
            process.kill()


def _connected(port: int) -> socket.socket:
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise AssertionError("nobody listens")


def gdb(port: int, *commands: str, file: Path | None = HELLO) -> str:
    """What GDB says to these commands; $_exitcode and the like are its own."""
    assert GDB is not None
    line = [GDB, "-nx", "-batch", "-ex", "set pagination off", "-ex", "set tcp connect-timeout 60"]
    line += [word for command in (f"target remote 127.0.0.1:{port}", *commands) for word in ("-ex", command)]
    done = subprocess.run([*line, *([str(file)] if file else [])], capture_output=True, text=True, timeout=180)
    return done.stdout + done.stderr


@needs_gdb
@pytest.mark.parametrize("engine", ["bt", "interp"])
def test_a_session(engine: str) -> None:
    """As a course's `make debug` has it: from the first instruction to the end."""
    with started("-kernel", str(HELLO), "-serial", "stdio", "-display", "none", "-S", "--engine", engine) as (
        process,
        port,
    ):
        said = gdb(
            port,
            "info registers eip eax",
            "break main",
            "continue",
            "info registers eip",
            "stepi",
            "stepi",
            "x/2i $pc",
            "set $edx = 0x1234",
            "print/x $edx",
            "print/x *(int*)multiboot_header",
            "monitor info status",
            "hbreak put_char",
            "continue",
            "backtrace 1",
            "delete",
            "continue",
        )
        output, _ = process.communicate(timeout=180)
    main = SYMBOLS["main"]
    assert re.search(rf"eip +{SYMBOLS['start']:#x} +{SYMBOLS['start']:#x} <start>", said), said
    assert re.search(r"eax +0x2badb002", said)
    assert re.search(rf"Breakpoint 1, {main:#010x} in main \(\)", said)
    assert re.search(rf"eip +{main:#x} +{main:#x} <main>", said)
    assert re.search(rf"=> 0x{main:x}|=> 0x[0-9a-f]+ <main", said)
    assert "$1 = 0x1234" in said
    assert "$2 = 0x1badb002" in said
    assert "VM status: paused" in said
    assert re.search(rf"Breakpoint 2, {SYMBOLS['put_char']:#010x} in put_char", said)
    assert re.search(r"\[Inferior 1 .* exited with code 01\]", said)
    assert process.returncode == 1
    assert output.startswith("hello\n")


@needs_gdb
def test_each_register_is_where_gdb_has_it() -> None:
    """All of them different, and as the monitor shows them; one that is set is no other."""
    names = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
    setting = [f"set ${name} = {0x1110 * (place + 1):#x}" for place, name in enumerate(names)]
    with started("-kernel", str(HELLO), "-S", "-serial", "null") as (_, port):
        said = gdb(port, *setting, "info registers", "monitor info registers", "kill")
    theirs = {name: int(value, 16) for name, value in re.findall(r"^(\w+) +(0x[0-9a-f]+)", said, re.MULTILINE)}
    ours = {name.lower(): int(value, 16) for name, value in re.findall(r"\b(E\w\w)=([0-9a-f]{8})", said)}
    ours |= {name.lower(): int(value, 16) for name, value in re.findall(r"\b([C-S]S) =([0-9a-f]{4})", said)}
    assert {name: theirs[name] for name in names} == {name: 0x1110 * (place + 1) for place, name in enumerate(names)}
    assert len(ours) >= len(names) + 6, said
    assert {name: theirs["eflags" if name == "efl" else name] for name in ours} == ours


_COUNTED = ("print/d *(unsigned *)0x200000",)


def _counted(said: str) -> list[int]:
    return [int(number) for number in re.findall(r"^\$\d+ = (\d+)$", said, re.MULTILINE)]


@needs_gdb
def test_ctrl_c_and_detach(tmp_path: Path) -> None:
    """A guest that runs is stopped by connecting; when GDB has left it goes on."""
    count = "again:\ninc dword ptr [0x200000]\njmp again\n"
    guest = code.write(tmp_path / "guest.bin", code.SAY_READY + count)
    with started("-kernel", guest, *code.FLAT) as (process, port):
        assert process.stdout is not None
        assert process.stdout.read(1) == ">"
        where = code.ADDRESS + 8
        said = gdb(port, "info registers eip", f"x/1i {where:#x}", "stepi", *_COUNTED, *_COUNTED, "detach", file=None)
        assert re.search(r"eip +0x10000[0-9a-f]", said), said
        first, second = _counted(said)
        assert first == second, "it is stopped"
        assert "detached" in said
        time.sleep(0.2)
        said = gdb(port, *_COUNTED, f"break *{where:#x}", "continue", "kill", file=None)
        assert _counted(said)[0] > second + 1
        assert f"Breakpoint 1, {where:#010x}" in said, said
        assert process.wait(60) == 0


@needs_gdb
def test_a_boot_sector_before_it_is_loaded(tmp_path: Path) -> None:
    """A breakpoint is an address, not a byte in memory: firmware that loads code over it does not take it away."""
    disk = tmp_path / "disk.img"
    disk.write_bytes(boot_sector())
    with started(str(disk), "-S", "-serial", "null") as (process, port):
        commands = ("info registers eip cs", "break *0x7c00", "continue", "x/2xb 0x7c00", "delete", "continue")
        said = gdb(port, *commands, file=None)
        assert re.search(r"eip +0xfff0", said), said
        assert "Breakpoint 1, 0x00007c00" in said
        assert re.search(r"0x7c00:\s+0x31\s+0xc0", said)
        assert process.wait(60) == 99


def test_the_protocol_by_hand() -> None:
    """What GDB rarely says: a damaged packet, an unknown one, a Ctrl-C while the guest runs."""
    with started("-kernel", str(HELLO), "-S", "-serial", "null") as (_, port), _connected(port) as client:
        client.settimeout(60)

        def ask(data: bytes, until: bytes = b"#") -> bytes:
            client.sendall(data)
            said = b""
            while until not in said or not re.search(rb"#..$", said):
                said += client.recv(4096)
            return said

        assert ask(packet(b"?")) == b"+" + packet(b"T05thread:01;")
        assert ask(packet(b"qOffsets")) == b"+" + packet(b"")
        client.sendall(b"$g#00")
        assert client.recv(1) == b"-"
        assert ask(b"-") == packet(b"")
        assert len(ask(packet(b"g"))) == 1 + 4 + 2 * (16 * 4 + 8 * 10 + 8 * 4)
        assert ask(packet(b"m100000,4")) == b"+" + packet(b"02b0ad1b")
        assert ask(packet(b"M300000,2:beef")) == b"+" + packet(b"OK")
        assert ask(packet(b"mf0000000,4")) == b"+" + packet(b"E01")
        assert ask(packet(b"p99")) == b"+" + packet(b"xxxxxxxx")
        assert ask(packet(b"P0=78563412")) == b"+" + packet(b"OK")
        assert ask(packet(b"p0")) == b"+" + packet(b"78563412")


def test_packets() -> None:
    reader = PacketReader()
    assert reader.feed(b"+-\x03noise") == [Sign.RECEIVED, Sign.AGAIN, Sign.INTERRUPT]
    sent = bytes(range(256))
    assert reader.feed(packet(sent)[:100]) == []
    assert reader.feed(packet(sent)[100:] + b"+") == [sent, Sign.RECEIVED]
    assert reader.feed(b"$OK#9b") == [Sign.DAMAGED]
    assert packet(b"OK") == b"$OK#9a"
