"""The tables of the MultiProcessor Specification 1.4 (Intel 242016), for one processor and one I/O APIC."""

import struct
from collections.abc import Mapping

from bt.firmware.acpi.dsdt import PCI_IRQS, SCI
from bt.firmware.acpi.tables import IO_APIC, LOCAL_APIC, TIMER_INPUT
from bt.firmware.linking import checksum

PROCESSOR, BUS, APIC, INTERRUPT, LOCAL_INTERRUPT = range(5)  # entry types
PCI_BUS, ISA_BUS = 0, 1
ENABLED, BOOTSTRAP = 1 << 0, 1 << 1
APIC_VERSION = 0x11
VECTORED, NMI, EXTERNAL = 0, 1, 3
ALL_APICS = 0xFF
ACTIVE_HIGH = 0b01  # else as the bus has it
CASCADE = 2
FLOATING_BYTES = 16


def floating_pointer(table_at: int) -> bytes:
    """What systems look for, on a 16-byte boundary."""
    pointer = struct.pack("<4sIBBB5s", b"_MP_", table_at, 1, 4, 0, b"")
    return pointer[:10] + bytes((checksum(pointer),)) + pointer[11:]


def configuration_table(signature: int, features: int, pci: Mapping[tuple[int, int], int]) -> bytes:
    """`signature`, `features`: CPUID.1 EAX and EDX; `pci`: interrupt by slot and pin, 0 for INTA#."""
    entries = [
        struct.pack("<BBBBIIQ", PROCESSOR, 0, APIC_VERSION, ENABLED | BOOTSTRAP, signature, features, 0),
        struct.pack("<BB6s", BUS, PCI_BUS, b"PCI   "),
        struct.pack("<BB6s", BUS, ISA_BUS, b"ISA   "),
        struct.pack("<BBBBI", APIC, 0, APIC_VERSION, ENABLED, IO_APIC),
    ]
    entries += [_interrupt(PCI_BUS, slot << 2 | pin, irq, ACTIVE_HIGH) for (slot, pin), irq in sorted(pci.items())]
    for irq in range(16):
        if irq not in (CASCADE, SCI, *PCI_IRQS):
            entries.append(_interrupt(ISA_BUS, irq, irq or TIMER_INPUT))
    entries.append(struct.pack("<BBHBBBB", LOCAL_INTERRUPT, EXTERNAL, 0, ISA_BUS, 0, 0, 0))
    entries.append(struct.pack("<BBHBBBB", LOCAL_INTERRUPT, NMI, 0, ISA_BUS, 0, ALL_APICS, 1))
    body = b"".join(entries)
    head = struct.pack(
        "<4sHBB8s12sIHHII",
        b"PCMP", 44 + len(body), 4, 0, b"BT      ", b"PC".ljust(12), 0, 0, len(entries), LOCAL_APIC, 0,
    )  # fmt: skip
    table = head + body
    return table[:7] + bytes((checksum(table),)) + table[8:]


def _interrupt(bus: int, source: int, pin: int, flags: int = 0) -> bytes:
    return struct.pack("<BBHBBBB", INTERRUPT, VECTORED, flags, bus, source, 0, pin)
