"""A socket as a character device, TCP or of Unix, at either end of a connection; telnet's negotiation if wanted."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

from bt.chardev.chardev import READ_BYTES, Chardev, Ended, Opened, Received
from bt.chardev.outlet import Outlet
from bt.chardev.telnet import GREETING, TelnetReader, escaped
from bt.chardev.waiter import Waiter

HERE = "127.0.0.1"  # an empty host: others have to be asked for


class Socket(Chardev):
    """A server takes one connection at a time, and the next when that is over; a client has one.

    Without a connection what is written is gone. A server that `waits` has one before the machine starts.
    """

    sends = True
    takes = frozenset({"path", "host", "port", "is_server", "waits", "is_telnet"})

    def open(self) -> None:
        self._connection: socket.socket | None = None
        self._outlet: Outlet | None = None
        self._held.callback(self._hang_up)
        try:
            if not self.choices.get("is_server"):
                self._connection = self._connected()
                return
            self._server = self._bound()
            if self.choices.get("waits", True):
                print(f"bt: {self.option}: waiting for a connection", file=sys.stderr, flush=True)
                self._connection, _ = self._server.accept()
        except OSError as error:
            self.close()
            raise self.refuse(error.strerror or error) from error

    def listen(self, waiter: Waiter, received: Received, ended: Ended, opened: Opened) -> None:
        self._waiter, self._received, self._ended, self._opened = waiter, received, ended, opened
        if self.choices.get("is_server"):
            self._held.callback(waiter.forget, self._server.fileno())
        if self._connection is not None:
            self._begin(self._connection)
        elif self.choices.get("is_server"):
            waiter.watch(self._server.fileno(), self._accept)

    def write(self, data: bytes) -> None:
        outlet = self._outlet
        if outlet is not None:
            outlet.write(escaped(data) if self.choices.get("is_telnet") else data)

    # -- the connection -----------------------------------------------------------------------------------------------

    def _connected(self) -> socket.socket:
        path = self.choices.get("path")
        if path is None:
            return socket.create_connection(self._address())
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
        except OSError:
            client.close()
            raise
        return client

    def _bound(self) -> socket.socket:
        path = self.choices.get("path")
        if path is None:
            server = socket.create_server(self._address(), backlog=1)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)
            server = socket.socket(socket.AF_UNIX)
            server.bind(path)
            server.listen(1)
            self._held.callback(_remove, path)
        self._held.callback(server.close)
        return server

    def _address(self) -> tuple[str, int]:
        return self.choices.get("host") or HERE, self.choices["port"]

    def _accept(self) -> None:
        """One at a time: who comes meanwhile waits in the host's queue."""
        self._connection, _ = self._server.accept()
        self._waiter.forget(self._server.fileno())
        self._begin(self._connection)

    def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        outlet = Outlet(connection.fileno(), self._waiter)
        if self.choices.get("is_telnet"):
            outlet.write(GREETING)
            self._telnet = TelnetReader()
        self._outlet = outlet
        self._opened()
        self._waiter.watch(connection.fileno(), self._read)

    def _read(self) -> None:
        assert self._connection is not None
        try:
            data = self._connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            if self.choices.get("is_server"):
                if (server := self._server.fileno()) != -1:  # unless it is being closed
                    self._waiter.watch(server, self._accept)
            else:
                self._ended()
        elif self.choices.get("is_telnet"):
            self._received(self._telnet.feed(data))
        else:
            self._received(data)

    def _hang_up(self) -> None:
        connection, outlet = self._connection, self._outlet
        self._connection = self._outlet = None
        if connection is None:
            return
        if outlet is not None:
            outlet.finish()
            self._waiter.forget(connection.fileno())
        connection.close()


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
