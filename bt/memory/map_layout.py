"""Where a PC's RAM lies, and what native code reads of the map of it (bt/memory/map.py).

That map has two levels, indexed by physical address. Each 2 MiB *chunk* has an entry of 64 bits: 0 where nothing but
devices may be; host address less physical address, and PAGE_* flags, where all of it is alike, which RAM is as a rule;
or CHUNK_TABLE and the address of 512 such entries, one for each 4 KiB page of it. Addresses are those of whole pages,
so the low bits are free for flags.
"""

from bt.x86.page import PAGE

PAGE_SHIFT = PAGE.bit_length() - 1
CHUNK_SHIFT, CHUNK_BYTES = 21, 1 << 21
CHUNK_PAGES = CHUNK_BYTES // PAGE

ADDRESS_BITS = 36  # of the widest processor there is, see cpu_model.PHYSICAL_ADDRESS_BITS
PAGES, CHUNKS = 1 << ADDRESS_BITS - PAGE_SHIFT, 1 << ADDRESS_BITS - CHUNK_SHIFT

PAGE_MEMORY = 1  # there is host memory, to be read and executed
PAGE_WRITABLE = 2  # and written; without it stores vanish
PAGE_OVER_RAM = 8  # not writable, but stores go to the RAM behind it
CHUNK_TABLE = 4  # of a chunk: the rest is the address of its table

VIDEO_HOLE = 0xA_0000  # adapters and ROMs from here up to HIGH_MEMORY
HIGH_MEMORY = 0x10_0000
DEVICE_HOLE = 0xE000_0000  # to 4 GiB: addresses of devices; what RAM there is beyond this begins at HIGH_RAM
HIGH_RAM = 1 << 32
MOST_RAM = (1 << ADDRESS_BITS) - (HIGH_RAM - DEVICE_HOLE)


def low_ram(ram_bytes: int) -> int:
    """Bytes of RAM from address 0 up to the addresses of devices, at most."""
    return min(ram_bytes, DEVICE_HOLE)


def ram_ranges(ram_bytes: int) -> list[tuple[int, int]]:
    """Address and length of the RAM below the addresses of devices, and of that from 4 GiB up if there is any."""
    low = low_ram(ram_bytes)
    return [(0, low), *([(HIGH_RAM, ram_bytes - low)] if ram_bytes > low else [])]
