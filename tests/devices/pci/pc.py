"""The PCI functions of a PC on their bus, with a record of what they ask of the board."""

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Line
from bt.devices.display.vga_pci import vga_function
from bt.devices.pci.config_ports import FIRST_PORT, PORT_COUNT, ConfigPorts
from bt.devices.pci.i440fx import HostBridge, Target
from bt.devices.pci.piix3 import IsaBridge, ResetControl, ide_function
from bt.devices.pci.piix4_pm import PmFunction, PmRegisters
from bt.memory.bus import Bus

ENABLED = 1 << 31


class Pc:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.irqs = [Line(f"IRQ{number}") for number in range(16)]
        self.regions: dict[int, tuple[Target, Target]] = {}  # by start of each 16 KiB
        self.moves: list[tuple[str, int, int | None]] = []
        self.resets: list[bool] = []
        self.sci = Line("SCI")
        self.powered_off = 0
        self.reset_control = ResetControl(self.resets.append)
        self.ports = ConfigPorts(self.reset_control)
        self.bus = Bus("ports", 16)
        self.bus.attach(self.ports, FIRST_PORT, PORT_COUNT)
        self.host = HostBridge(self.set_region)
        self.isa = IsaBridge(self.irqs)
        self.ide = ide_function(lambda number, address: self.moves.append(("ide", number, address)))
        self.pm = PmFunction(lambda number, address: self.moves.append(("pm", number, address)), apmc_enabled=False)
        self.vga = vga_function(16 << 20, 64 << 10, lambda number, address: self.moves.append(("vga", number, address)))
        self.functions = ((self.host, 0, 0), (self.isa, 1, 0), (self.ide, 1, 1), (self.pm, 1, 3), (self.vga, 2, 0))
        self.moves.clear()  # where a reset leaves the SMBus
        for function, device, number in self.functions:
            self.ports.attach(function, device, number)
        self.pm_registers = PmRegisters(self.clock, self.sci, self.power_off)

    def set_region(self, start: int, length: int, reads: Target, writes: Target) -> None:
        self.regions |= dict.fromkeys(range(start, start + length, 0x4000), (reads, writes))

    def power_off(self) -> None:
        self.powered_off += 1

    def port_in(self, port: int, size: int) -> int:
        return self.bus.read(port, size)

    def port_out(self, port: int, value: int, size: int) -> None:
        self.bus.write(port, size, value)

    def get(self, device: int, function: int, register: int, size: int = 4) -> int:
        self.port_out(0xCF8, ENABLED | device << 11 | function << 8 | register & 0xFC, 4)
        return self.port_in(0xCFC + (register & 3), size)

    def put(self, device: int, function: int, register: int, value: int, size: int = 4) -> None:
        self.port_out(0xCF8, ENABLED | device << 11 | function << 8 | register & 0xFC, 4)
        self.port_out(0xCFC + (register & 3), value, size)
