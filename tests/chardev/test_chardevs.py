"""Character devices by themselves: what goes through them, and ends that come and go."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bt.chardev.chardev import Chardev
from bt.chardev.kinds import chardev
from bt.chardev.outlet import MOST_WAITING
from bt.chardev.pseudo_terminal import PseudoTerminal
from bt.chardev.telnet import GREETING, IAC, TelnetReader
from bt.chardev.waiter import Waiter
from bt.errors import BadUsage

SECONDS = 20.0
EVERYTHING = bytes(range(256))


class Listener:
    """Who hears a device: what came, and how often it said that nothing would any more."""

    def __init__(self, device: Chardev, waiter: Waiter) -> None:
        self.came = bytearray()
        self.ends = 0
        self.greetings = 0
        device.listen(waiter, self.came.extend, self._ended, self._opened)

    def _opened(self) -> None:
        self.greetings += 1

    def _ended(self) -> None:
        self.ends += 1

    def until(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + SECONDS
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        return condition()


@pytest.fixture
def waiter() -> Iterator[Waiter]:
    failed: list[BaseException] = []
    made = Waiter(failed.append)
    made.start()
    yield made
    made.close()
    assert failed == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def received(connection: socket.socket, length: int) -> bytes:
    connection.settimeout(SECONDS)
    data = b""
    while len(data) < length and (piece := connection.recv(4096)):
        data += piece
    return data


def test_a_file_has_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    for appends, wanted in ((False, EVERYTHING), (True, 2 * EVERYTHING)):
        device = chardev("file", "-serial", "serial0", path=str(path), appends=appends)
        device.open()
        device.write(EVERYTHING)
        device.close()
        assert path.read_bytes() == wanted


def test_null_is_at_its_end(waiter: Waiter) -> None:
    device = chardev("null", "-serial null", "serial0")
    device.open()
    device.write(EVERYTHING)
    assert Listener(device, waiter).ends == 1


def test_a_pseudo_terminal(waiter: Waiter, capfd: pytest.CaptureFixture[str]) -> None:
    """Its name is said as QEMU says it; programs come and go; bytes pass as they are, and nothing echoes."""
    device = chardev("pty", "-serial pty", "serial0")
    assert isinstance(device, PseudoTerminal)
    device.open()
    listener = Listener(device, waiter)
    assert capfd.readouterr().err == f"char device redirected to {device.path} (label serial0)\n"
    for _ in range(2):
        fd = os.open(device.path, os.O_RDWR | os.O_NOCTTY)
        os.write(fd, EVERYTHING)
        assert listener.until(lambda: bytes(listener.came) == EVERYTHING)
        listener.came.clear()
        device.write(EVERYTHING)
        data = b""
        while len(data) < len(EVERYTHING):
            data += os.read(fd, 4096)
        assert data == EVERYTHING
        os.close(fd)
    device.close()


def test_what_nobody_takes_waits_and_holds_up_nobody(waiter: Waiter) -> None:
    device = chardev("pty", "-serial pty", "serial0")
    assert isinstance(device, PseudoTerminal)
    device.open()
    Listener(device, waiter)
    start = time.monotonic()
    for number in range(100_000):
        device.write(b"%07d\n" % number)
    assert time.monotonic() - start < SECONDS
    fd = os.open(device.path, os.O_RDONLY | os.O_NOCTTY)
    data = b""
    while b"0099999\n" not in data:
        data += os.read(fd, 65536)
    assert len(data) < 2 * MOST_WAITING
    assert data.startswith(b"0000000\n")
    os.close(fd)
    device.close()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_server_takes_one_after_the_other(waiter: Waiter, tmp_path: Path, family: str) -> None:
    port, path = free_port(), str(tmp_path / "socket")
    if family == "tcp":
        device = chardev("socket", "-serial tcp", "serial0", host="", port=port, is_server=True, waits=False)
    else:
        device = chardev("socket", "-serial unix", "serial0", path=path, is_server=True, waits=False)
    device.open()
    listener = Listener(device, waiter)
    device.write(b"to nobody")

    def connected() -> socket.socket:
        if family == "tcp":
            return socket.create_connection(("127.0.0.1", port))
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        return client

    client, waiting = connected(), connected()
    for number in range(2):
        client.sendall(EVERYTHING)
        assert listener.until(lambda: bytes(listener.came) == EVERYTHING)
        listener.came.clear()
        device.write(EVERYTHING)
        assert received(client, 256) == EVERYTHING
        assert listener.greetings == number + 1
        client.close()
        client = waiting
    assert listener.ends == 0
    device.close()
    assert not os.path.exists(path)


def test_a_client_has_one_connection(waiter: Waiter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        device = chardev("socket", "-serial tcp", "serial0", host="127.0.0.1", port=port)
        device.open()
        listener = Listener(device, waiter)
        connection, _ = server.accept()
        with connection:
            device.write(EVERYTHING)
            assert received(connection, 256) == EVERYTHING
            connection.sendall(b"abc")
            assert listener.until(lambda: listener.came == b"abc")
        assert listener.until(lambda: listener.ends == 1)
    device.close()


def test_a_server_that_waits(waiter: Waiter, capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    device = chardev("socket", f"-serial tcp::{port},server", "serial0", host="", port=port, is_server=True)
    clients: queue.Queue[socket.socket] = queue.Queue()

    def connect() -> None:
        time.sleep(0.3)
        clients.put(socket.create_connection(("127.0.0.1", port)))

    threading.Thread(target=connect).start()
    device.open()
    client = clients.get(timeout=SECONDS)
    assert capfd.readouterr().err == f"bt: -serial tcp::{port},server: waiting for a connection\n"
    Listener(device, waiter)
    device.write(b"hello")
    assert received(client, 5) == b"hello"
    client.close()
    device.close()


def test_nothing_listens_for_others() -> None:
    port = free_port()
    device = chardev("socket", "-serial tcp", "serial0", host="", port=port, is_server=True, waits=False)
    device.open()
    listening = Path("/proc/net/tcp").read_text().split("\n")
    assert [line.split()[1] for line in listening if f":{port:04X} 00000000:0000 0A" in line] == [
        f"0100007F:{port:04X}"
    ]
    device.close()


def test_telnet(waiter: Waiter) -> None:
    port = free_port()
    device = chardev(
        "socket", "-serial telnet", "serial0", host="", port=port, is_server=True, waits=False, is_telnet=True
    )
    device.open()
    listener = Listener(device, waiter)
    client = socket.create_connection(("127.0.0.1", port))
    assert received(client, len(GREETING)) == GREETING
    client.sendall(b"a\xff\xfd\x03b\xff\xffc\xff\xfa\x18\x00xterm\xff\xf0d")
    assert listener.until(lambda: listener.came == b"ab\xffcd")
    device.write(b"x\xffy")
    assert received(client, 4) == b"x\xff\xffy"
    client.close()
    device.close()


def test_telnet_commands_in_pieces() -> None:
    data = b"a\xff\xfd\x03b\xff\xffc\xff\xfa\x18\x00xterm\xff\xf0d\xff\xf1e"
    for cut in range(len(data)):
        reader = TelnetReader()
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == bytes((*b"ab", IAC, *b"cde"))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: chardev("file", "-serial file:/no/such/place", "x", path="/no/such/place"), "No such file"),
        (lambda: chardev("socket", "-serial tcp::1", "x", host="", port=free_port()), "Connection refused"),
        (lambda: chardev("socket", "-serial unix:/no", "x", path="/no/such"), "No such file"),
    ],
)
def test_what_cannot_be_opened(make: Callable[[], Chardev], said: str) -> None:
    with pytest.raises(BadUsage, match=said):
        make().open()


def test_kinds_say_what_they_take() -> None:
    with pytest.raises(BadUsage, match="-serial x: null does not take path"):
        chardev("null", "-serial x", "serial0", path="y")
    with pytest.raises(BadUsage, match="no kind of character device called spicevmc; there are stdio, file, "):
        chardev("spicevmc", "-chardev spicevmc", "c")


def test_what_an_action_raises_is_handed_over() -> None:
    failed: list[BaseException] = []
    waiter = Waiter(failed.append)
    done = threading.Event()
    waiter.every(0.01, done.set)
    waiter.start()
    waiter.ask(lambda: [][0])
    assert done.wait(SECONDS)
    deadline = time.monotonic() + SECONDS
    while not failed and time.monotonic() < deadline:
        time.sleep(0.01)
    waiter.close()
    assert [type(error) for error in failed] == [IndexError]
