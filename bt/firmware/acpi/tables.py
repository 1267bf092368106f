"""The ACPI tables of machine "pc" (ACPI 6.5, chapter 5): RSDP, RSDT, FADT, FACS, DSDT, MADT; WAET (Microsoft)."""

import struct
from typing import NamedTuple

from bt.firmware.acpi.dsdt import GPE_BASE, GPE_BYTES, PCI_IRQS, SCI, dsdt
from bt.firmware.linking import HIGH, LOW, Linkable

ACPI_FILE, ROOT = "etc/acpi/tables", "etc/acpi/rsdp"
OEM, OEM_TABLE, CREATOR = b"BT", b"BTPC", b"BT"
HEADER_BYTES, LENGTH_AT, CHECKSUM_AT = 36, 4, 9

PM_BASE = 0x600  # where SeaBIOS moves the registers when it is given tables
PM_CONTROL, PM_TIMER = PM_BASE + 4, PM_BASE + 8
SMI_COMMAND, ACPI_ENABLE, ACPI_DISABLE = 0xB2, 0xF1, 0xF0
RESET_PORT, RESET_VALUE = 0xCF9, 0x06  # hard: system and processor
NO_STATE = 0xFFF  # a latency that says that there is no C2, C3
CENTURY = 0x32  # of CMOS RAM
LEGACY_DEVICES, HAS_8042 = 1 << 0, 1 << 1
# WBINVD works; C1 works; no sleep button; the RTC wakes from S4; reset register; the PM timer is to be preferred
FADT_FLAGS = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 10 | 1 << 15

LOCAL_APIC, IO_APIC = 0xFEE0_0000, 0xFEC0_0000
ACTIVE_HIGH_LEVEL = 0b1101
PM_TIMER_GOOD = 1 << 1  # of WAET: one read is enough
TIMER_INPUT = 2  # of the I/O APIC
ALL_PROCESSORS, NMI_PIN = 0xFF, 1


class Hardware(NamedTuple):
    """What the tables tell of that differs between machines."""

    low_ram: int  # bytes below the addresses of devices
    has_apics: bool
    processors: int = 1
    pvpanic: int | None = None  # the port of such a device


def acpi_tables(hardware: Hardware) -> Linkable:
    """All of them, to be linked."""
    linkable = Linkable()
    tables = linkable.add_file(ACPI_FILE, 64, HIGH)
    linkable.add_file(ROOT, 16, LOW)
    facs = len(tables)
    tables += struct.pack("<4sIII", b"FACS", 64, 0, 0).ljust(64, b"\0")
    dsdt_at = _add(linkable, b"DSDT", 1, dsdt(hardware.low_ram, hardware.processors, hardware.pvpanic))
    fadt_at = _add_fadt(linkable, facs, dsdt_at)
    listed = [fadt_at]
    if hardware.has_apics:
        listed.append(_add(linkable, b"APIC", 1, _madt(hardware.processors)))
    listed.append(_add(linkable, b"WAET", 1, struct.pack("<I", PM_TIMER_GOOD)))
    rsdt_at = _add_rsdt(linkable, listed)
    linkable.files[ROOT] += struct.pack("<8sB6sBI", b"RSD PTR ", 0, OEM.ljust(6), 0, 0)
    linkable.point(ROOT, 16, 4, ACPI_FILE, rsdt_at)
    linkable.check(ROOT, 8, 0, 20)
    return linkable


def _header(signature: bytes, length: int, revision: int) -> bytes:
    return struct.pack(
        "<4sIBB6s8sI4sI", signature, length, revision, 0, OEM.ljust(6), OEM_TABLE.ljust(8), 1, CREATOR.ljust(4), 1
    )


def _append(linkable: Linkable, signature: bytes, revision: int, body: bytes) -> int:
    tables = linkable.files[ACPI_FILE]
    tables += bytes(-len(tables) % 16)
    at = len(tables)
    tables += _header(signature, HEADER_BYTES + len(body), revision) + body
    return at


def _check(linkable: Linkable, at: int) -> None:
    length = int.from_bytes(linkable.files[ACPI_FILE][at + LENGTH_AT : at + LENGTH_AT + 4], "little")
    linkable.check(ACPI_FILE, at + CHECKSUM_AT, at, length)


def _add(linkable: Linkable, signature: bytes, revision: int, body: bytes) -> int:
    """Append a table without pointers; its offset."""
    at = _append(linkable, signature, revision, body)
    _check(linkable, at)
    return at


def _add_rsdt(linkable: Linkable, listed: list[int]) -> int:
    at = _append(linkable, b"RSDT", 1, bytes(4 * len(listed)))
    for number, target in enumerate(listed):
        linkable.point(ACPI_FILE, at + HEADER_BYTES + 4 * number, 4, ACPI_FILE, target)
    _check(linkable, at)
    return at


def _add_fadt(linkable: Linkable, facs: int, dsdt_at: int) -> int:
    """Revision 3, for the reset register."""
    body = struct.pack(
        "<IIBBHIBBBB", 0, 0, 1, 0, SCI, SMI_COMMAND, ACPI_ENABLE, ACPI_DISABLE, 0, 0
    )  # FACS and DSDT; model, profile; SCI; S4BIOS and P-states: none
    body += struct.pack("<IIIIIIII", PM_BASE, 0, PM_CONTROL, 0, 0, PM_TIMER, GPE_BASE, 0)
    body += struct.pack("<BBBBBBBB", 4, 2, 0, 4, GPE_BYTES, 0, 0, 0)  # their lengths; GPE1's base; no _CST
    body += struct.pack("<HHHHBBBBB", NO_STATE, NO_STATE, 0, 0, 0, 0, 0, 0, CENTURY)
    body += struct.pack("<HBI", LEGACY_DEVICES | HAS_8042, 0, FADT_FLAGS)
    body += _register(RESET_PORT, 1) + bytes((RESET_VALUE, 0, 0, 0))
    body += struct.pack("<QQ", 0, 0)  # the addresses of 64 bits again: those of 32 bits hold
    body += _register(PM_BASE, 4) + _register(0, 0) + _register(PM_CONTROL, 2) + _register(0, 0) + _register(0, 0)
    body += _register(PM_TIMER, 4) + _register(GPE_BASE, GPE_BYTES) + _register(0, 0)
    at = _append(linkable, b"FACP", 3, body)
    linkable.point(ACPI_FILE, at + 36, 4, ACPI_FILE, facs)
    linkable.point(ACPI_FILE, at + 40, 4, ACPI_FILE, dsdt_at)
    _check(linkable, at)
    return at


def _register(port: int, size: int) -> bytes:
    """A generic address structure (5.2.3.2): a block of ports of `size` bytes; 0 is none."""
    return struct.pack("<BBBBQ", 1 if size else 0, 8 * size, 0, 0, port)


def _madt(processors: int) -> bytes:
    body = struct.pack("<II", LOCAL_APIC, 1)  # there are 8259s, too
    for number in range(processors):
        body += struct.pack("<BBBBI", 0, 8, number, number, 1)
    body += struct.pack("<BBBBII", 1, 12, 0, 0, IO_APIC, 0)
    body += _override(0, TIMER_INPUT, 0)
    for irq in sorted({SCI, *PCI_IRQS}):
        body += _override(irq, irq, ACTIVE_HIGH_LEVEL)
    return body + struct.pack("<BBBHB", 4, 6, ALL_PROCESSORS, 0, NMI_PIN)


def _override(irq: int, to: int, flags: int) -> bytes:
    """An ISA interrupt that is not an edge at the I/O APIC's input of its number."""
    return struct.pack("<BBBBIH", 2, 10, 0, irq, to, flags)
