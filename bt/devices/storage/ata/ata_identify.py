"""What IDENTIFY DEVICE and IDENTIFY PACKET DEVICE say (ATA/ATAPI-6, 8.15 and 8.16, tables 26 and 28)."""

from dataclasses import dataclass

MAX_MULTIPLE = 16  # sectors a block of READ MULTIPLE
LBA28_SECTORS = 0x0FFF_FFFF  # "total number of user addressable sectors" has 28 bits
HEADS, SECTORS_PER_TRACK, MOST_CYLINDERS = 16, 63, 16383  # the geometry of every disk above 8 GB

MULTIWORD_DMA_MODES, ULTRA_DMA_MODES = 3, 6  # 0-2, 0-5
CYCLE_NS = 120  # of multiword DMA mode 2 and of PIO mode 4

FIXED_DISK = 0x0040
CD_ROM = 0x8580 | 0x0040  # packet device, CD-ROM, removable, 50 us to DATA_REQUEST, 12-byte packets

VALID = 0x4000  # words 50, 83, 84, 87 and 93: bit 14 is one and bit 15 zero if the word means something
CAN_NOP, CAN_LOOK_AHEAD, CAN_WRITE_CACHE, CAN_PACKET, CAN_POWER = 1 << 14, 1 << 6, 1 << 5, 1 << 4, 1 << 3  # word 82
CAN_RESET = 1 << 9
CAN_FLUSH_EXT, CAN_FLUSH, CAN_LBA48 = 1 << 13, 1 << 12, 1 << 10  # word 83
VERSIONS_4_TO_6 = 0x0070


@dataclass(slots=True)
class Settings:
    """What SET FEATURES and its like have set; a hardware reset makes it new."""

    heads: int = HEADS
    sectors_per_track: int = SECTORS_PER_TRACK
    multiple: int = MAX_MULTIPLE  # sectors a block, 0: READ MULTIPLE is refused
    write_cache: bool = True
    look_ahead: bool = True
    multiword_dma: int | None = None  # mode
    ultra_dma: int | None = 5


def default_cylinders(sectors: int) -> int:
    return max(1, min(sectors // (HEADS * SECTORS_PER_TRACK), MOST_CYLINDERS))


def text(words: list[int], first: int, count: int, value: str) -> None:
    """`value` as ATA keeps it: padded with spaces, the first of two characters in the high byte."""
    data = value.encode("ascii", "replace").ljust(2 * count)[: 2 * count]
    words[first : first + count] = [data[2 * n] << 8 | data[2 * n + 1] for n in range(count)]


def _shared(words: list[int], settings: Settings, serial: str, model: str) -> None:
    text(words, 10, 10, serial)
    text(words, 23, 4, "1.0")
    text(words, 27, 20, model)
    words[53] = 0b110  # words 64-70 and 88 are valid
    words[63] = (1 << MULTIWORD_DMA_MODES) - 1 | _selected(settings.multiword_dma)
    words[64] = 0b11  # PIO modes 3 and 4
    words[65:69] = [CYCLE_NS] * 4
    words[80] = VERSIONS_4_TO_6
    words[88] = (1 << ULTRA_DMA_MODES) - 1 | _selected(settings.ultra_dma)
    words[93] = VALID | 0x2000 | 0x0001  # an 80-conductor cable


def _selected(mode: int | None) -> int:
    return 0 if mode is None else 1 << mode + 8


def _as_bytes(words: list[int]) -> bytes:
    """With the integrity word: signature A5h and a checksum that makes the sum of all bytes zero."""
    data = bytearray(b"".join(word.to_bytes(2, "little") for word in words))
    data[510] = 0xA5
    data[511] = -sum(data[:511]) & 0xFF
    return bytes(data)


def identify_disk(settings: Settings, sectors: int, serial: str, model: str) -> bytes:
    """The 512 bytes for a disk of `sectors` sectors."""
    words = [0] * 256
    _shared(words, settings, serial, model)
    cylinders = default_cylinders(sectors)
    words[0] = FIXED_DISK
    words[1], words[3], words[6] = cylinders, HEADS, SECTORS_PER_TRACK
    words[47] = 0x8000 | MAX_MULTIPLE
    words[49] = 0x0F00  # IORDY, may be disabled; LBA; DMA
    words[50] = VALID
    words[51] = words[52] = 0x0200  # retired: what is faster than PIO mode 2 says so in word 64
    words[53] |= 1  # words 54-58 too
    heads, track = settings.heads, settings.sectors_per_track
    current = max(1, min(sectors // (heads * track), 0xFFFF))
    words[54:57] = [current, heads, track]
    words[57:59] = _low_high(min(current * heads * track, sectors))
    words[59] = 0x0100 | settings.multiple if settings.multiple else 0
    words[60:62] = _low_high(min(sectors, LBA28_SECTORS))
    words[82] = CAN_NOP | CAN_LOOK_AHEAD | CAN_WRITE_CACHE | CAN_POWER
    words[83] = VALID | CAN_FLUSH_EXT | CAN_FLUSH | CAN_LBA48
    words[84] = words[87] = VALID
    words[85] = (
        CAN_NOP
        | (CAN_LOOK_AHEAD if settings.look_ahead else 0)
        | (CAN_WRITE_CACHE if settings.write_cache else 0)
        | CAN_POWER
    )
    words[86] = CAN_FLUSH_EXT | CAN_FLUSH | CAN_LBA48
    words[100:104] = [*_low_high(sectors & 0xFFFF_FFFF), *_low_high(sectors >> 32)]
    return _as_bytes(words)


def identify_cdrom(settings: Settings, serial: str, model: str) -> bytes:
    words = [0] * 256
    _shared(words, settings, serial, model)
    words[0] = CD_ROM
    words[49] = 0x0F00
    words[50] = VALID
    words[82] = words[85] = CAN_NOP | CAN_RESET | CAN_PACKET | CAN_POWER
    words[83] = words[84] = words[87] = VALID
    return _as_bytes(words)


def _low_high(value: int) -> list[int]:
    return [value & 0xFFFF, value >> 16]
