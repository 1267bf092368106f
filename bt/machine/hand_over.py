"""What SeaBIOS would have left, for guests that are loaded without firmware: registers, and tables in memory.

Not as SeaBIOS leaves them, for nobody would serve their interrupts: 8259s and timer are as after a reset. Fonts are
the VGA BIOS's, and so missing. All of F0000h-FFFFFh is reserved in memory maps: the tables are there, and writable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bt.devices.display.registers import FIRST_PORT, VgaRegisters
from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.function import (
    COMMAND,
    COMMAND_IO,
    COMMAND_MEMORY,
    INTERRUPT_LINE,
    PciFunction,
    Space,
    bar_register,
)
from bt.devices.pci.i440fx import ALL_RAM, FIRST_PAM
from bt.devices.pci.piix3 import FIRST_PIRQ, pirq_of
from bt.devices.pci.piix4_pm import PM_BASE, PM_ENABLES, SMBUS_BASE
from bt.firmware import smbios
from bt.firmware.acpi import tables as acpi
from bt.firmware.acpi.dsdt import SCI
from bt.firmware.mp_table import FLOATING_BYTES, configuration_table, floating_pointer
from bt.firmware.pir_table import pir_table
from bt.machine.board import Board
from bt.machine.firmware import hardware, smbios_facts

COMMAND_ERRORS = 1 << 8
IO_START, MEMORY_END, LEAST_MEMORY = 0xC000, 0xFEC0_0000, 0x1000
PIRQ_ROUTES = (10, 10, 11, 11)
SMBUS_PORTS = 0x700
HOST_BRIDGE, ISA_BRIDGE, IDE, POWER = (0, 0), (1, 0), (1, 1), (1, 3)
FUNCTION_REGISTERS: dict[tuple[int, int], tuple[tuple[int, int, int], ...]] = {  # offset, size, value
    HOST_BRIDGE: ((FIRST_PAM, 3, ALL_RAM * 0x01_01_01), (FIRST_PAM + 3, 4, ALL_RAM * 0x01_01_01_01)),
    ISA_BRIDGE: tuple((FIRST_PIRQ + number, 1, irq) for number, irq in enumerate(PIRQ_ROUTES)),
    IDE: ((0x40, 4, 0x8000_8000),),  # both channels decoded
    POWER: ((PM_BASE, 4, acpi.PM_BASE | 1), (PM_ENABLES, 1, 1), (SMBUS_BASE, 4, SMBUS_PORTS | 1)),
}

# A20 open. Level-triggered: 10 and 11. The second DMA controller passes the first one's requests on.
CHIPSET_PORTS = ((0x92, 0x02), (0x4D0, 0x00), (0x4D1, 0x0C), (0xD6, 0xC0), (0xD4, 0x00))

# Mode 3, 80 columns and 25 lines of 9 by 16: IBM PS/2 Hardware Interface Technical Reference (84F9808), "Video".
SEQUENCER = bytes.fromhex("0300030002")
CRTC = bytes.fromhex("5f4f50825581bf1f004f0d0e000000a09c8e8f281f96b9a3ff")
GRAPHICS = bytes.fromhex("0000000000100e0fff")
ATTRIBUTES = bytes.fromhex("000102030405140738393a3b3c3d3e3f0c000f0800")
MISCELLANEOUS = 0x67
SHOW = 0x20  # of the attribute index
COLOURS = 64

TABLES_AT, PARAGRAPH = 0xF0000, 16


class _Region(NamedTuple):
    size: int
    number: int
    function: PciFunction


def hand_over(board: Board) -> None:
    """Have the board of machine "pc" as firmware leaves it."""
    ports = board.part("PCI ports", ConfigPorts)
    functions = ports.functions
    _place_regions(functions.values())
    lines = {}
    for (slot, number), function in functions.items():
        for offset, size, value in FUNCTION_REGISTERS.get((slot, number), ()):
            function.write(offset, size, value)
        if function.interrupt_pin:
            line = SCI if (slot, number) == POWER else PIRQ_ROUTES[pirq_of(slot, function.interrupt_pin)]
            function.write(INTERRUPT_LINE, 1, line)
            lines[slot, function.interrupt_pin - 1] = line
        function.write(COMMAND, 2, COMMAND_IO | COMMAND_MEMORY | COMMAND_ERRORS)
    for port, value in CHIPSET_PORTS:
        board.ports.write(port, 1, value)
    _set_text_mode(board.vga.registers)
    for address, data in _tables(board, lines):
        board.dma_memory.write(address, data)


def _place_regions(functions: Iterable[PciFunction]) -> None:
    """Ports from C000h up; memory below the I/O APIC, what can be prefetched below the rest; the largest first."""
    io: list[_Region] = []
    memory: list[_Region] = []
    prefetchable: list[_Region] = []
    for function in functions:
        for number, bar in function.bars.items():
            if bar.space is Space.IO:
                io.append(_Region(bar.size, number, function))
            else:
                kind = prefetchable if bar.space is Space.PREFETCHABLE else memory
                kind.append(_Region(max(bar.size, LEAST_MEMORY), number, function))
    _place(io, IO_START)
    end = MEMORY_END
    for regions in (memory, prefetchable):
        if regions:
            largest = max(region.size for region in regions)
            end = (end - sum(region.size for region in regions)) & -largest
            _place(regions, end)


def _place(regions: list[_Region], start: int) -> None:
    for region in sorted(regions, key=lambda region: -region.size):
        region.function.write(bar_register(region.number), 4, start)
        start += region.size


def _set_text_mode(registers: VgaRegisters) -> None:
    """Past the bus, which would take as long again."""

    def write(port: int, value: int) -> None:
        registers.write(port - FIRST_PORT, 1, value)

    def write_all(port: int, values: bytes) -> None:
        for index, value in enumerate(values):
            write(port, index)
            write(port + 1, value)

    write(0x3C2, MISCELLANEOUS)
    write_all(0x3C4, SEQUENCER)
    write_all(0x3CE, GRAPHICS)
    write(0x3D4, 0x11)
    write(0x3D5, 0)  # unlocks the first eight registers
    write_all(0x3D4, CRTC)
    registers.read(0x3DA - FIRST_PORT, 1)  # an index is the next that 3C0h gets
    for index, value in enumerate(ATTRIBUTES):
        write(0x3C0, index)
        write(0x3C0, value)
    write(0x3C0, SHOW)
    write(0x3C8, 0)
    for colour in range(COLOURS):  # two bits each of red, green, blue: the lower one in bits 5:3
        for bit in (2, 1, 0):
            write(0x3C9, 0x2A * (colour >> bit & 1) + 0x15 * (colour >> bit + 3 & 1))


def _tables(board: Board, lines: dict[tuple[int, int], int]) -> Iterator[tuple[int, bytes]]:
    """Address and contents of each table."""
    at = TABLES_AT

    def place(length: int, alignment: int = PARAGRAPH) -> int:
        nonlocal at
        start = -(-at // alignment) * alignment
        at = start + length
        return start

    known = hardware(board)
    linkable = acpi.acpi_tables(known)
    places = {name: place(len(data), linkable.alignment(name)) for name, data in linkable.files.items()}
    for name, data in linkable.placed(places).items():
        yield places[name], data
    facts = smbios_facts(board.config)
    about = smbios.structures(facts, with_bios=True)
    about_at = place(len(about))
    yield about_at, about
    yield place(smbios.ANCHOR_BYTES), smbios.anchor(about, about_at)
    pir = pir_table()
    yield place(len(pir)), pir
    if known.has_apics:
        mp = configuration_table(facts.signature, facts.features, lines)
        mp_at = place(len(mp))
        yield mp_at, mp
        yield place(FLOATING_BYTES), floating_pointer(mp_at)
