"""GDB's remote serial protocol: packets out of bytes, and back (GDB manual, appendix E: `$data#checksum`)."""

from __future__ import annotations

from enum import Enum

BEGIN, END, ESCAPE, REPEAT = b"$#}*"
ESCAPED = frozenset((BEGIN, END, ESCAPE, REPEAT))
FLIP = 0x20  # what an escaped byte is sent with


class Sign(Enum):
    """What is no packet."""

    RECEIVED = "+"
    AGAIN = "-"
    INTERRUPT = "Ctrl-C"
    DAMAGED = "a packet whose checksum is another"


_SIGNS = {ord("+"): Sign.RECEIVED, ord("-"): Sign.AGAIN, 0x03: Sign.INTERRUPT}


class PacketReader:
    """Takes bytes as they come."""

    def __init__(self) -> None:
        self._begun: bytearray | None = None  # a packet, from behind its $

    def feed(self, data: bytes) -> list[bytes | Sign]:
        """Whole packets, unescaped, and signs between them; what is neither is nobody's."""
        found: list[bytes | Sign] = []
        for byte in data:
            if self._begun is None:
                if byte == BEGIN:
                    self._begun = bytearray()
                elif byte in _SIGNS:
                    found.append(_SIGNS[byte])
                continue
            self._begun.append(byte)
            if len(self._begun) >= 3 and self._begun[-3] == END:
                text, checksum = bytes(self._begun[:-3]), bytes(self._begun[-2:])
                self._begun = None
                found.append(_unescaped(text) if checksum.lower() == b"%02x" % (sum(text) & 0xFF) else Sign.DAMAGED)
        return found


def packet(data: bytes) -> bytes:
    """As it is sent."""
    text = bytearray()
    for byte in data:
        text += bytes((ESCAPE, byte ^ FLIP)) if byte in ESCAPED else bytes((byte,))
    return b"$%b#%02x" % (bytes(text), sum(text) & 0xFF)


def _unescaped(text: bytes) -> bytes:
    found, is_escaped = bytearray(), False
    for byte in text:
        if is_escaped or byte != ESCAPE:
            found.append(byte ^ FLIP if is_escaped else byte)
            is_escaped = False
        else:
            is_escaped = True
    return bytes(found)
