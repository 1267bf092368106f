"""PCI as SeaBIOS leaves it: regions placed, functions switched on, interrupts routed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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
from bt.firmware.acpi import tables as acpi
from bt.firmware.acpi.dsdt import SCI
from bt.machine.board import Board

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

InterruptLines = dict[tuple[int, int], int]
"""By slot and pin from 0 on: the input of the interrupt controllers."""


class _Region(NamedTuple):
    size: int
    number: int
    function: PciFunction


def configure(board: Board) -> InterruptLines:
    """Have the board's PCI functions as firmware leaves them; what interrupts which input."""
    functions = board.part("PCI ports", ConfigPorts).functions
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
    return lines


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
