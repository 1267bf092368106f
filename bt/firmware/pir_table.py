"""$PIR, which says how PCI interrupts are wired (Microsoft, "PCI IRQ Routing Table Specification" 1.0)."""

import struct

from bt.devices.pci.piix3 import FIRST_PIRQ, PIRQ_COUNT, pirq_of
from bt.firmware.linking import checksum

ROUTER_SLOT, SLOTS = 1, 6
COMPATIBLE_ROUTER = 0x122E_8086  # the PIIX
ROUTABLE = 0xDEF8  # interrupts 3 to 7, 9 to 12, 14 and 15
CHECKSUM_AT = 31


def pir_table() -> bytes:
    """For the slots from the ISA bridge's on, which take the four links in turn."""
    body = b""
    for number in range(SLOTS):
        slot = ROUTER_SLOT + number
        links = (FIRST_PIRQ + pirq_of(slot, pin) for pin in range(1, PIRQ_COUNT + 1))
        wires = b"".join(struct.pack("<BH", link, ROUTABLE) for link in links)
        body += struct.pack("<BB12sBB", 0, slot << 3, wires, number, 0)
    head = struct.pack(
        "<4sHHBBHII11sB", b"$PIR", 0x100, 32 + len(body), 0, ROUTER_SLOT << 3, 0, COMPATIBLE_ROUTER, 0, b"", 0
    )
    table = bytearray(head + body)
    table[CHECKSUM_AT] = checksum(table)
    return bytes(table)
