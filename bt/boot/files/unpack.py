"""Kernels compressed with gzip (RFC 1952), as GNU Mach's and many others come: unpacked before anybody looks at them.

Several members one after the other are one file, and zeroes behind them are padding, as for gunzip. No more is
unpacked than the guest has memory, so that a small file cannot fill the host's.
"""

import zlib

from bt.boot.files.foreign import HEAD, Glance, refuse_known
from bt.boot.placement import MIB, MOST_LOW_RAM, enough_memory
from bt.errors import BadImage

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way of asking for gzip's header and check sum
_SMALLEST_BITE, _LARGEST_BITE = 1 << 10, 1 << 20  # bytes; small ones first: what a member leaves over is copied
_TRAILER = 8  # bytes: check sum, and the unpacked size modulo 4 GiB


def gunzip(name: str, packed: bytes, ram_size: int) -> bytes:
    """What is in `packed`. Raises BadImage if that is damaged, or if more than `ram_size` bytes are in it."""
    unpacked = bytearray()
    position = 0
    while position < len(packed):
        if not packed.startswith(packed[:2], position):  # each member begins with the same magic number
            rest = len(packed) - position
            if packed.count(0, position) == rest:
                break
            raise BadImage(f"{name}: {rest} bytes behind its gzip data are no gzip; gunzip it, if they do not matter")
        position = _unpack_member(name, packed, position, unpacked, ram_size)
    return bytes(unpacked)


def _unpack_member(name: str, packed: bytes, position: int, unpacked: bytearray, ram_size: int) -> int:
    """Append the member at `position` to `unpacked`; where it ends."""
    member = zlib.decompressobj(_GZIP)
    bite = _SMALLEST_BITE
    while not member.eof:
        data = member.unconsumed_tail
        if not data:
            data, position = packed[position : position + bite], position + bite
            bite = min(2 * bite, _LARGEST_BITE)
        if not data:
            raise BadImage(f"{name}: its gzip data end after {len(unpacked)} bytes unpacked: is it cut off?")
        try:
            unpacked += member.decompress(data, ram_size + 1 - len(unpacked))
        except zlib.error as error:
            reason = str(error).rpartition(": ")[2]
            raise BadImage(f"{name}: damaged gzip data ({reason}); fetch or build it again") from error
        if len(unpacked) > ram_size:
            raise _too_large(name, packed, unpacked, ram_size)
    return min(position, len(packed)) - len(member.unused_data)


def _too_large(name: str, packed: bytes, unpacked: bytearray, ram_size: int) -> BadImage:
    """More memory is an advice only if the trailer says that there is enough of it."""
    refuse_known(name, Glance(bytes(unpacked[:HEAD]), b"", len(unpacked)))
    size = int.from_bytes(packed[-_TRAILER // 2 :], "little")
    advice = f"; {enough_memory(size)}" if ram_size < size <= MOST_LOW_RAM else ", not a guest"
    return BadImage(f"{name}: unpacks to more than {ram_size / MIB:g} MiB, all of the guest's memory{advice}")
