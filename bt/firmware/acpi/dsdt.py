"""The differentiated system description table of machine "pc": what is on the board, in AML."""

from functools import cache

from bt.firmware.acpi import aml

PCI_MEMORY_END = 0xFEBF_FFFF  # the I/O APIC's window is the next
GPE_BASE, GPE_BYTES = 0xAFE0, 4
SCI = 9
PCI_IRQS = (5, 10, 11)  # what PCI interrupts may be routed to
SLOTS, PINS = 32, 4
EISA_ID = 7  # characters; ACPI's own have one more
POWER_FUNCTION_SLOT = 1  # its pin A is the SCI
LINKS = ("LNKA", "LNKB", "LNKC", "LNKD")
ROUTED_NOWHERE = 0x80
PRESENT, HIDDEN = 0x0F, 0x0B  # there and working; not shown to people
NOT_ENABLED = 0x09  # of a link device that is routed nowhere


@cache
def dsdt(low_ram: int, processors: int, pvpanic: int | None = None) -> bytes:
    """The body. `low_ram`: bytes of RAM below the addresses of devices; `pvpanic`: the port of such a device."""
    return b"".join(
        (
            aml.scope("\\_SB", *(aml.processor(f"CPU{number:X}", number) for number in range(processors))),
            aml.scope(
                "\\_SB",
                aml.device(
                    "PCI0",
                    aml.name("_HID", aml.eisa_id("PNP0A03")),
                    aml.name("_ADR", 0),
                    aml.name("_UID", 0),
                    aml.name("_CRS", _bridge_windows(low_ram)),
                    aml.name("_PRT", _routing()),
                    _isa_bridge(pvpanic),
                    _reserved_ports(),
                ),
                *_links(),
            ),
            aml.name("\\_S5", aml.package(0, 0, 0, 0)),  # the suspend type that is soft-off
        )
    )


def _bridge_windows(low_ram: int) -> bytes:
    return aml.resources(
        aml.bus_numbers(0, 0xFF),
        aml.io(0xCF8, 8),
        aml.io_range(0, 0xCF7),
        aml.io_range(0xD00, 0xFFFF),
        aml.memory_range(0xA0000, 0xBFFFF, cacheable=True),
        aml.memory_range(low_ram, PCI_MEMORY_END),
    )


def _routing() -> bytes:
    """Slots take the links in turn, slot 1 beginning with LNKA; the power management function has the SCI."""
    entries = []
    for slot in range(SLOTS):
        for pin in range(PINS):
            link = LINKS[(slot + pin - 1) % PINS]
            if (slot, pin) == (POWER_FUNCTION_SLOT, 0):
                link = "LNKS"
            entries.append(aml.package(slot << 16 | 0xFFFF, pin, aml.path(f"\\_SB.{link}"), 0))
    return aml.package(*entries)


def _links() -> list[bytes]:
    """A link device for each PIRQ route control register (60h to 63h of the ISA bridge), and one for the SCI."""
    current = aml.method(
        "IQCR",
        1,
        aml.name("PRR0", aml.resources(aml.interrupts(0))),
        aml.create_dword_field(aml.path("PRR0"), 5, "PRRI"),
        aml.if_(aml.less(aml.ARG0, ROUTED_NOWHERE), aml.store(aml.ARG0, aml.path("PRRI"))),
        aml.return_(aml.path("PRR0")),
        serialized=True,
    )
    status = aml.method(
        "IQST",
        1,
        aml.if_(aml.and_(aml.ARG0, ROUTED_NOWHERE), aml.return_(NOT_ENABLED)),
        aml.return_(HIDDEN),
    )
    return [status, current, *(_link(number, link) for number, link in enumerate(LINKS)), _sci_link()]


def _link(number: int, link: str) -> bytes:
    route = aml.path(f"PRQ{number}")
    return aml.device(
        link,
        aml.name("_HID", aml.eisa_id("PNP0C0F")),
        aml.name("_UID", number),
        aml.name("_PRS", aml.resources(aml.interrupts(*PCI_IRQS))),
        aml.method("_STA", 0, aml.return_(aml.call("IQST", route))),
        aml.method("_DIS", 0, aml.or_(route, ROUTED_NOWHERE, route)),
        aml.method("_CRS", 0, aml.return_(aml.call("IQCR", route))),
        aml.method("_SRS", 1, aml.create_dword_field(aml.ARG0, 5, "PRRI"), aml.store(aml.path("PRRI"), route)),
    )


def _sci_link() -> bytes:
    return aml.device(
        "LNKS",
        aml.name("_HID", aml.eisa_id("PNP0C0F")),
        aml.name("_UID", len(LINKS)),
        aml.name("_PRS", aml.resources(aml.interrupts(SCI))),
        aml.method("_STA", 0, aml.return_(HIDDEN)),
        aml.method("_DIS", 0),
        aml.method("_CRS", 0, aml.return_(aml.path("_PRS"))),
        aml.method("_SRS", 1),
    )


def _isa_bridge(pvpanic: int | None) -> bytes:
    added = [] if pvpanic is None else [_isa_device("PEVT", "QEMU0001", aml.io(pvpanic, 1))]
    return aml.device(
        "ISA",
        aml.name("_ADR", 0x1_0000),
        aml.operation_region("PIRQ", aml.PCI_CONFIG, 0x60, 4),
        aml.scope(
            "\\_SB",
            aml.field("PCI0.ISA.PIRQ", aml.BYTE_ACCESS, [(f"PRQ{number}", 8) for number in range(len(LINKS))]),
        ),
        _isa_device("RTC", "PNP0B00", aml.io(0x70, 2), aml.irq(8)),
        _isa_device("KBD", "PNP0303", aml.io(0x60, 1), aml.io(0x64, 1), aml.irq(1)),
        _isa_device("MOU", "PNP0F13", aml.irq(12)),
        _isa_device("COM1", "PNP0501", aml.io(0x3F8, 8), aml.irq(4), uid=1),
        _isa_device("COM2", "PNP0501", aml.io(0x2F8, 8), aml.irq(3), uid=2),
        _isa_device("FDC0", "PNP0700", aml.io(0x3F2, 4), aml.io(0x3F7, 1), aml.irq(6), aml.dma(2)),
        *added,
    )


def _isa_device(where: str, kind: str, *descriptors: bytes, uid: int | None = None) -> bytes:
    """`kind`: an identifier of PNP's, or of an ACPI vendor."""
    terms = [aml.name("_HID", aml.eisa_id(kind) if len(kind) == EISA_ID else kind), aml.name("_STA", PRESENT)]
    if uid is not None:
        terms.append(aml.name("_UID", uid))
    return aml.device(where, *terms, aml.name("_CRS", aml.resources(*descriptors)))


def _reserved_ports() -> bytes:
    """Ports of the board that drivers of PCI devices must not take."""
    return aml.device(
        "GPE0",
        aml.name("_HID", aml.eisa_id("PNP0C02")),
        aml.name("_UID", "general-purpose events"),
        aml.name("_STA", HIDDEN),
        aml.name("_CRS", aml.resources(aml.io(GPE_BASE, GPE_BYTES))),
    )
