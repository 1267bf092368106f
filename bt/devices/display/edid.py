"""What the monitor says of itself: VESA Enhanced EDID, version 1.4, one block of 128 bytes."""

BLOCK_BYTES = 128
HEADER = b"\x00\xff\xff\xff\xff\xff\xff\x00"
MANUFACTURER = "BTV"  # three letters of five bits
VERSION = bytes((1, 4))
DIGITAL_8_BITS = 0xA5  # DisplayPort, eight bits a colour
FEATURES = 0x06  # sRGB; the first timing is the native one
# red, green, blue and white of sRGB, as the standard encodes them
CHROMATICITY = bytes.fromhex("ee91a3544c99260f5054")
ESTABLISHED = bytes.fromhex("210800")  # 640x480, 800x600 and 1024x768 at 60 Hz
STANDARD = ((1280, 1024, 0b10), (1600, 1200, 0b01), (1920, 1080, 0b11))  # at 60 Hz, with their aspect ratios' codes
DPI = 100
BLANKING, SYNC_OFFSET, SYNC_WIDTH = (160, 35), (48, 3), (32, 6)  # dots and lines of reduced blanking
REFRESH_HZ = 60
NAME, RANGE = 0xFC, 0xFD  # display descriptors


def edid(width: int = 1280, height: int = 800, name: str = "bt monitor") -> bytes:
    """The block of a monitor of `width` x `height` pixels, both less than 4096."""
    letters = [ord(letter) - ord("A") + 1 for letter in MANUFACTURER]
    maker = (letters[0] << 10 | letters[1] << 5 | letters[2]).to_bytes(2, "big")
    size = bytes((_centimetres(width), _centimetres(height)))
    block = HEADER + maker + bytes((0x01, 0x00)) + bytes(4) + bytes((1, 30)) + VERSION
    block += bytes((DIGITAL_8_BITS,)) + size + bytes((120, FEATURES)) + CHROMATICITY + ESTABLISHED
    standard = b"".join(bytes((x // 8 - 31, aspect << 6)) for x, _, aspect in STANDARD)
    block += standard.ljust(16, b"\x01")
    block += _timing(width, height)
    block += _descriptor(RANGE, bytes((50, 75, 30, 160, 30, 0x01)) + b"\n      ")
    block += _descriptor(NAME, (name[:12].encode() + b"\n").ljust(13))
    block += _descriptor(0x10, bytes(13))  # nothing more
    block += b"\0"  # no extensions
    return block + bytes((-sum(block) & 0xFF,))


def _centimetres(dots: int) -> int:
    return dots * 254 // (DPI * 100)


def _timing(width: int, height: int) -> bytes:
    """A detailed timing descriptor, 18 bytes."""
    (blank_x, blank_y), (offset_x, offset_y), (sync_x, sync_y) = BLANKING, SYNC_OFFSET, SYNC_WIDTH
    clock = (width + blank_x) * (height + blank_y) * REFRESH_HZ // 10_000
    mm_x, mm_y = 10 * _centimetres(width), 10 * _centimetres(height)
    return clock.to_bytes(2, "little") + bytes(
        (
            width & 0xFF, blank_x & 0xFF, width >> 8 << 4 | blank_x >> 8,
            height & 0xFF, blank_y & 0xFF, height >> 8 << 4 | blank_y >> 8,
            offset_x & 0xFF, sync_x & 0xFF, (offset_y & 0xF) << 4 | sync_y & 0xF,
            offset_x >> 8 << 6 | sync_x >> 8 << 4 | offset_y >> 4 << 2 | sync_y >> 4,
            mm_x & 0xFF, mm_y & 0xFF, mm_x >> 8 << 4 | mm_y >> 8,
            0, 0, 0x1A,  # digital separate sync, horizontal positive
        )
    )  # fmt: skip


def _descriptor(kind: int, data: bytes) -> bytes:
    return bytes((0, 0, 0, kind, 0)) + data
