"""The board: what a PC is made of, where the guest finds it, and which wires go where. Read this file first.

The table `PC` is the map of ports, device windows and interrupt requests. A further device is a file in bt/devices and
a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from bt.clock.virtual_clock import VirtualClock
from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.chipset.fpu_error import FpuError
from bt.devices.chipset.pic8259 import Pic8259Pair
from bt.devices.chipset.pit8254 import Pit8254
from bt.devices.chipset.port61 import Port61
from bt.devices.chipset.port92 import Port92
from bt.devices.debug.debug_console import DebugConsole
from bt.devices.debug.debug_exit import DebugExit
from bt.devices.debug.output import Output, OutputQueue
from bt.devices.debug.post_port import PostPort
from bt.devices.device import Device, Line
from bt.devices.input.i8042 import I8042
from bt.devices.serial.uart16550 import Uart16550
from bt.engine.protocol import Engine
from bt.errors import BadUsage
from bt.machine.config import MachineConfig
from bt.memory.bus import DEVICE_WINDOW_ACCESS_NS, PORT_ACCESS_NS, Bus

_Device = TypeVar("_Device", bound=Device)


class Part(NamedTuple):
    """A line of the map.

    `ports` and `windows` are ranges of port numbers and of physical addresses, in hexadecimal; the device sees them as
    offsets from 0 on, one range after the other. `make` gets the board, with the parts of the lines above on it, and a
    driver for the wire of each of `irqs`: several devices may share one.
    """

    name: str  # of the device, in messages and in snapshots
    ports: str
    irqs: tuple[int, ...]
    make: Callable[[Board, Sequence[Line]], Device]
    windows: str = ""


# fmt: off
PC = (
    #    device        ports                  IRQ      made of
    Part("PIC",        "20-21 A0-A1 4D0-4D1", (),      lambda b, irq: Pic8259Pair(b.intr)),
    Part("PIT",        "40-43",               (0,),    lambda b, irq: Pit8254(b.clock, irq[0])),
    Part("keyboard",   "60 64",               (1, 12), lambda b, irq: I8042(irq[0], irq[1], b.set_a20, b.restart)),
    Part("port 61",    "61",                  (),      lambda b, irq: Port61(b.clock, b.pit.gate2, b.pit.counter2)),
    Part("RTC",        "70-71",               (8,),    lambda b, irq: CmosRtc(b.clock, irq[0], b.memory, b.rtc_base)),
    Part("POST port",  "80-8F",               (),      lambda b, irq: PostPort()),
    Part("port 92",    "92",                  (),      lambda b, irq: Port92(b.set_a20, b.restart)),
    Part("port E9",    "E9",                  (),      lambda b, irq: DebugConsole(b.console)),
    Part("FPU error",  "F0-F1",               (13,),   lambda b, irq: FpuError(irq[0], b.ignore_fp_error)),
    Part("debug exit", "F4-F7 501-504",       (),      lambda b, irq: DebugExit(b.exit)),
    Part("COM1",       "3F8-3FF",             (4,),    lambda b, irq: Uart16550(irq[0], b.serial)),
)
# fmt: on


@dataclass(frozen=True)
class Outside:
    """What devices reach beyond the board."""

    serial: Callable[[int], None]  # takes each byte that COM1 sends
    console: Callable[[int], None]  # takes each byte written to port 0xE9
    heard: Callable[[], None]  # called when there is something for either
    restart: Callable[[], None]  # the guest wants the machine to start again
    exit: Callable[[int], None]  # the guest ends the run with a status


class Board:
    """The devices of one machine on its buses, made from a map."""

    # what parts are made of
    clock: VirtualClock
    intr: Line  # to the processor
    memory: int  # bytes of RAM
    rtc_base: datetime
    serial: Output
    console: Output
    restart: Callable[[], None]
    exit: Callable[[int], None]
    set_a20: Callable[[bool], None]
    ignore_fp_error: Callable[[], None]

    def __init__(
        self,
        config: MachineConfig,
        engine: Engine,
        clock: VirtualClock,
        outside: Outside,
        parts: Sequence[Part] = PC,
    ) -> None:
        self.ports = Bus("ports", 16, PORT_ACCESS_NS, engine.port_values, engine.port_access, engine.native_registers)
        self.mmio = Bus("memory", 36, DEVICE_WINDOW_ACCESS_NS, native=engine.native_registers)
        self.intr = Line("INTR")
        self.intr.watch(engine.set_intr)
        self.clock, self.memory, self.rtc_base = clock, config.memory, config.rtc_base
        self.outputs = OutputQueue(outside.heard)
        self.serial, self.console = self.outputs.output(outside.serial), self.outputs.output(outside.console)
        self.restart, self.exit = outside.restart, outside.exit
        self.set_a20, self.ignore_fp_error = engine.set_a20, engine.ignore_fp_error
        self.devices: dict[str, Device] = {}
        for part in parts:
            self._add(part)
        self.pic, self.com1 = self.part("PIC", Pic8259Pair), self.part("COM1", Uart16550)
        self.fpu_error = self.part("FPU error", FpuError)

    @property
    def pit(self) -> Pit8254:
        return self.part("PIT", Pit8254)

    def part(self, name: str, kind: type[_Device]) -> _Device:
        """The device of that name. Raises BadUsage unless there is one, and it is a `kind`."""
        device = self.devices.get(name)
        if not isinstance(device, kind):
            raise BadUsage(f"no {kind.__name__} called {name!r} on the board: there are {', '.join(self.devices)}")
        return device

    def reset(self) -> None:
        """RESET: all devices start again."""
        for device in self.devices.values():
            device.reset()

    def _add(self, part: Part) -> None:
        drivers = [self.part("PIC", Pic8259Pair).line(irq).driver(part.name) for irq in part.irqs]
        device = part.make(self, drivers)
        device.name = part.name
        self.devices[part.name] = device
        for bus, ranges in ((self.ports, part.ports), (self.mmio, part.windows)):
            offset = 0
            for first, length in addresses(ranges):
                bus.attach(device, first, length, offset)
                offset += length


def addresses(ranges: str) -> list[tuple[int, int]]:
    """First address and length of each range in "60 64 A0-A1"."""
    bounds = [each.partition("-") for each in ranges.split()]
    return [(int(first, 16), int(last or first, 16) - int(first, 16) + 1) for first, _, last in bounds]
