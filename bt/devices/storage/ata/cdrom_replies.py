"""What a CD-ROM answers to packet commands that ask about it (MMC-3, T10 1363D; SFF-8020i)."""

CD_BLOCK_BYTES = 2048
MOST_CD_BLOCKS = 80 * 60 * 75  # 80 minutes; a larger medium is a DVD

CD_ROM_PROFILE, DVD_ROM_PROFILE = 0x0008, 0x0010
LEAD_OUT = 0xAA  # its "track" number
DATA_TRACK = 0x14  # ADR 1, control 4: data, recorded uninterrupted
MEDIA_CLASS = 4  # of events


class InvalidField(Exception):
    """The command packet asks for what this drive does not have."""


def big(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def _address(block: int, as_msf: bool) -> bytes:
    """A block's number in a table of contents: logical, or minutes, seconds and frames since the lead-in."""
    if not as_msf:
        return big(block, 4)
    seconds, frame = divmod(block + 150, 75)
    minute, second = divmod(seconds, 60)
    return bytes([0, minute & 0xFF, second, frame])


def inquiry(packet: bytes, vendor: str, product: str) -> bytes:
    if packet[1] & 1:
        raise InvalidField  # vital product data
    head = bytes([0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0])  # CD-ROM, removable, ATAPI version 2, response format 1
    return head + vendor.encode().ljust(8)[:8] + product.encode().ljust(16)[:16] + b"1.0 "


def request_sense(key: int, code: int, qualifier: int) -> bytes:
    return bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0])


def read_capacity(blocks: int) -> bytes:
    return big(blocks - 1, 4) + big(CD_BLOCK_BYTES, 4)


def read_toc(packet: bytes, blocks: int) -> bytes:
    """One data track in one session."""
    as_msf = bool(packet[1] & 2)
    start = packet[6]
    match packet[2] & 0xF or packet[9] >> 6:  # SFF-8020i has the format in the last byte
        case 0:
            if start > 1 and start != LEAD_OUT:
                raise InvalidField
            tracks = [] if start == LEAD_OUT else [(DATA_TRACK, 1, 0)]
            tracks.append((DATA_TRACK, LEAD_OUT, blocks))
            body = b"".join(
                bytes([0, control, number, 0]) + _address(block, as_msf) for control, number, block in tracks
            )
            return big(2 + len(body), 2) + b"\1\1" + body
        case 1:
            return big(10, 2) + b"\1\1" + bytes([0, DATA_TRACK, 1, 0]) + _address(0, as_msf)
        case 2:
            points = (
                (0xA0, bytes([0, 1, 0, 0])),  # first track
                (0xA1, bytes([0, 1, 0, 0])),  # last
                (0xA2, _address(blocks, True)),
                (0x01, _address(0, True)),
            )
            body = b"".join(bytes([1, DATA_TRACK, 0, point, 0, 0, 0]) + where for point, where in points)
            return big(2 + len(body), 2) + b"\1\1" + body
        case _:
            raise InvalidField


def mode_sense(packet: bytes, is_locked: bool, is_open: bool, has_medium: bool) -> bytes:
    """Pages 01h (error recovery) and 2Ah (capabilities), or 3Fh for both; current, changeable (nothing), default."""
    page, control = packet[2] & 0x3F, packet[2] >> 6
    pages = {
        0x01: bytes([0x00, 5, 0, 0, 0, 0]),
        0x2A: (
            bytes([0x1B, 0x00, 0x70, 0x00, 0x29 | 2 * is_locked, 0x00])  # CD-R, CD-RW, DVD; mode 2; tray, can lock
            + big(706, 2)  # KB/s: four times the speed of audio
            + big(2, 2)  # volume levels
            + big(512, 2)  # KB of buffer
            + big(706, 2)
            + bytes(4)
        ),
    }
    if control == 3:
        raise InvalidField
    wanted = sorted(pages) if page == 0x3F else [page]
    body = b""
    for number in wanted:
        if number not in pages:
            raise InvalidField
        content = pages[number]
        body += bytes([number, len(content)]) + (bytes(len(content)) if control == 1 else content)
    medium_type = 0x71 if is_open else 0x01 if has_medium else 0x70  # SFF-8020i; later standards reserve it
    return big(6 + len(body), 2) + bytes([medium_type]) + bytes(5) + body


def get_configuration(packet: bytes, blocks: int) -> bytes:
    """Features 0 (profiles), 1 (core) and 3 (removable medium); `blocks` is 0 without a medium."""
    kind, start = packet[1] & 3, int.from_bytes(packet[2:4], "big")
    current = 0 if not blocks else DVD_ROM_PROFILE if blocks > MOST_CD_BLOCKS else CD_ROM_PROFILE
    profiles = b"".join(big(p, 2) + bytes([p == current, 0]) for p in (DVD_ROM_PROFILE, CD_ROM_PROFILE))
    features = (
        (0, bytes([0x03, len(profiles)]) + profiles),
        (1, bytes([0x0B, 8]) + big(2, 4) + bytes([1, 0, 0, 0])),  # persistent, current; ATAPI, with events
        (3, bytes([0x03, 4, 0x29, 0, 0, 0])),  # tray, ejects, locks
    )
    if kind == 3:
        raise InvalidField
    chosen = [f for f in features if (f[0] == start if kind == 2 else f[0] >= start)]
    body = b"".join(big(number, 2) + content for number, content in chosen)
    return big(4 + len(body), 4) + bytes(2) + big(current, 2) + body


def event_status(packet: bytes, event: int, is_open: bool, has_medium: bool) -> bytes:
    """GET EVENT STATUS NOTIFICATION, polled; of the classes there is that of the medium."""
    if not packet[1] & 1:
        raise InvalidField  # would wait for an event
    if not packet[4] & 1 << MEDIA_CLASS:
        return bytes([0, 2, 0x80, 1 << MEDIA_CLASS])  # no event available
    return bytes([0, 6, MEDIA_CLASS, 1 << MEDIA_CLASS, event, is_open | 2 * has_medium, 0, 0])


def mechanism_status() -> bytes:
    return bytes([0, 0, 0, 0, 0, 1, 0, 0])  # idle, one slot, no table of slots


def disc_information() -> bytes:
    # finalized, last session complete; first track, sessions, first and last track of the last; for any use
    return big(32, 2) + bytes([0x0E, 1, 1, 1, 1, 0x20]) + bytes(26)
