"""The Telnet protocol as far as a serial line needs it (RFC 854, 855, 856, 857, 858)."""

from __future__ import annotations

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, ECHO, SUPPRESS_GO_AHEAD = 0, 1, 3
# character by character, eight bits, and the guest echoes
GREETING = bytes((IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD, IAC, WILL, BINARY, IAC, DO, BINARY))


def escaped(data: bytes) -> bytes:
    """As it goes over the line."""
    return data.replace(bytes((IAC,)), bytes((IAC, IAC)))


class TelnetReader:
    """Takes commands out of what comes, in pieces that may end anywhere; they are not answered."""

    def __init__(self) -> None:
        self._command = bytearray()

    def feed(self, data: bytes) -> bytes:
        """What is not part of a command."""
        plain = bytearray()
        for byte in data:
            if not self._command and byte != IAC:
                plain.append(byte)
                continue
            self._command.append(byte)
            if self._command == bytes((IAC, IAC)):
                plain.append(IAC)
            if self._is_complete():
                self._command.clear()
        return bytes(plain)

    def _is_complete(self) -> bool:
        command = self._command
        if len(command) < 2:
            return False
        if command[1] == SB:
            return command[-2:] == bytes((IAC, SE))
        return len(command) == 3 if command[1] in (WILL, WONT, DO, DONT) else True
