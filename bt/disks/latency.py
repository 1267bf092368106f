"""How long a disk takes, in the guest's time. The only place that says it.

With the virtual clock a request is complete at a time that depends on nothing but the request:

    reading, writing   REQUEST_NS + sectors * SECTOR_NS
    flushing           FLUSH_NS

A cached read of the host's takes about as long (tens of microseconds), so a guest that works meanwhile rarely makes
the VMM wait for the host, and one that polls does not spend long polling. There are no seeks. With the host's clock
requests are complete when the host has done them.
"""

REQUEST_NS = 20_000
SECTOR_NS = 250  # 2 GB/s
FLUSH_NS = 100_000


def transfer_ns(sectors: int) -> int:
    """Nanoseconds from a request for `sectors` of 512 bytes, read or write, to its completion."""
    return REQUEST_NS + sectors * SECTOR_NS
