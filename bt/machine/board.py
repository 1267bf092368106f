"""The board: puts devices on buses, wires and PCI, as a list of parts says (bt/machine/parts.py: read that first)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bt.boot.loaders.boot_sector import Stop
from bt.clock.virtual_clock import VirtualClock
from bt.devices.apic.local_apic import LocalApic
from bt.devices.chipset.fpu_error import FpuError
from bt.devices.chipset.pic8259 import CASCADE_INPUT, Pic8259Pair
from bt.devices.chipset.pit8254 import Pit8254
from bt.devices.debug.output import OutputQueue
from bt.devices.device import Device, Line
from bt.devices.display.vga import Vga
from bt.devices.dma_memory import MappedMemory
from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.function import PciFunction
from bt.devices.pci.piix3 import IsaBridge
from bt.devices.serial.uart16550 import Uart16550
from bt.engine.protocol import Engine
from bt.errors import BadUsage
from bt.firmware.roms import FIRMWARE
from bt.machine.config import MachineConfig
from bt.machine.media import Media
from bt.machine.place import Place, place
from bt.machine.system_memory import SystemMemory
from bt.memory.bus import DEVICE_WINDOW_ACCESS_NS, PORT_ACCESS_NS, Bus
from bt.memory.map import PhysicalMap
from bt.x86.state import APIC_BASE_ENABLED, APIC_BASE_RESET

if TYPE_CHECKING:
    from bt.devices.storage.disk_port import Post

APIC_ADDRESS, APIC_BYTES = 0xF_FFFF_F000, 0x1000  # where IA32_APIC_BASE has it, and its length
_Device = TypeVar("_Device", bound=Device)
Sink = Callable[[int], None]


class Part(NamedTuple):
    """A line of the list.

    `where`: ranges of port numbers in hexadecimal, or of physical addresses behind the word "memory"; the device sees
    them as offsets from 0 on, one range after the other, or from the offset behind an @ on. "PCI 1.3" is device 1,
    function 3. `make` gets the board, with the parts of the lines above on it, and a driver for the wire of each of
    `irqs`: several devices may share one.
    """

    name: str  # of the device, in messages and in snapshots
    where: str
    irqs: tuple[int, ...]
    make: Callable[[Board, Sequence[Line]], Device]


class Outside(NamedTuple):
    """What devices reach beyond the board."""

    serial: tuple[Sink, Sink]  # each takes every byte that COM1, COM2 sends
    console: Sink  # takes each byte written to port E9h
    firmware_log: Sink  # and to port 402h
    heard: Callable[[], None]  # called when there is something for COM1, port E9h, or COM2 where that is heard
    restart: Callable[[], None]  # the guest wants the machine to start again
    exit: Callable[[int], None]  # the guest ends the run with a status
    power_off: Callable[[], None]
    panic: Callable[[], None]  # the guest's kernel has panicked
    crash_loaded: Callable[[], None]  # it has, and another takes over
    is_com2_heard: bool = False  # what it sends is output like COM1's
    want: Callable[[Stop], None] = lambda stop: None  # the run ends: for want of something in the built-in firmware
    warn: Callable[[str], None] = lambda line: None  # a line for the user

    def through(self, queue: OutputQueue) -> Outside:
        """The same, where native code queues what goes there."""
        com1, com2 = self.serial
        return self._replace(
            serial=(queue.output(com1), queue.output(com2, is_heard=self.is_com2_heard)),
            console=queue.output(self.console),
            firmware_log=queue.output(self.firmware_log, is_heard=False),
        )


class Board:
    """The devices of one machine on its buses, made from a list of parts."""

    def __init__(
        self,
        config: MachineConfig,
        engine: Engine,
        clock: VirtualClock,
        memory: PhysicalMap,
        outside: Outside,
        parts: Iterable[Part],
        media: Media,
        post: Post | None = None,
    ) -> None:
        """`post` tells when the host is done with a disk, where that is what guests wait for (bt/devices/storage)."""
        self.ports = Bus("ports", 16, PORT_ACCESS_NS, engine.port_values, engine.port_access, engine.native_registers)
        self.mmio = Bus("memory", 36, DEVICE_WINDOW_ACCESS_NS, native=engine.native_registers)
        # what parts are made of
        self.outputs = OutputQueue(outside.heard)
        self.config, self.cpu, self.clock, self.media = config, engine, clock, media
        self.out = outside.through(self.outputs)
        self.post = post
        self.memory = SystemMemory(memory, has_bridge=config.machine == "pc")
        self.dma_memory = MappedMemory(memory)
        self.intr, self.pic_intr = Line("INTR"), Line("INT of the 8259s")
        self.intr.watch(engine.set_intr)
        self.devices: dict[str, Device] = {}
        for part in parts:
            self.add(part)
        self.com1, self.com2 = self.part("COM1", Uart16550), self.part("COM2", Uart16550)
        self.fpu_error = self.part("FPU error", FpuError)
        self.local_apic: LocalApic | None = None
        if "local APIC" in self.devices:
            self.local_apic = self.part("local APIC", LocalApic)
            self._place_local_apic = self.on_memory("local APIC", APIC_BYTES)
            self.apic_base_written(APIC_BASE_RESET | APIC_BASE_ENABLED)
        else:
            self.pic_intr.watch(self.intr.set)
        # the processor takes an interrupt: its vector
        self.acknowledge: Callable[[], int] = (self.local_apic or self.pic).acknowledge

    def apic_base_written(self, value: int) -> None:
        """IA32_APIC_BASE is `value` now."""
        if self.local_apic is not None:
            self.local_apic.set_base(value)
            self._place_local_apic(value & APIC_ADDRESS if value & APIC_BASE_ENABLED else None)

    @cached_property
    def pic(self) -> Pic8259Pair:
        return self.part("PIC", Pic8259Pair)

    @property
    def pit(self) -> Pit8254:
        return self.part("PIT", Pit8254)

    def part(self, name: str, kind: type[_Device]) -> _Device:
        """The device of that name. Raises BadUsage unless there is one, and it is a `kind`."""
        device = self.devices.get(name)
        if not isinstance(device, kind):
            raise BadUsage(f"no {kind.__name__} called {name!r} on the board: there are {', '.join(self.devices)}")
        return device

    @property
    def vga_bios(self) -> str:
        """The file of the display's option ROM."""
        return FIRMWARE[self.config.machine].vga

    def power_on(self) -> None:
        """Where no bridge says who answers below 1 MiB, the firmware is copied there."""
        if self.config.machine == "isapc":
            self.memory.copy_bios_down()

    def reset(self) -> None:
        """RESET: all devices start again."""
        for device in self.devices.values():
            device.reset()
        self.apic_base_written(APIC_BASE_RESET | APIC_BASE_ENABLED)

    def close(self) -> None:
        """Give back memories and disks; the processor must have gone."""
        self.memory.close()
        self.media.close()

    @cached_property
    def vga(self) -> Vga:
        video = self.memory.video
        vga = Vga(self.clock, video.buffer, self.memory.show_window, video.changed, self.memory.video_is_untouched)
        vga.memory.note_stores_through(self.outputs)
        return vga

    # -- for parts ----------------------------------------------------------------------------------------------------

    def irq(self, number: int, name: str) -> Line:
        """A driver, for `name`, of an ISA interrupt's wire; of none at all for the cascade's."""
        if number == CASCADE_INPUT:
            return Line(name)
        return self.pic.line(number).driver(name)

    def on_ports(self, name: str, length: int, offset: int = 0) -> Place:
        """Places `length` ports of the device, from its `offset` on."""
        return self._place(self.ports, name, length, offset)

    def on_memory(self, name: str, length: int) -> Place:
        """Places a device's window."""
        return self._place(self.mmio, name, length, 0)

    def _place(self, bus: Bus, name: str, length: int, offset: int) -> Place:
        return place(partial(_attached, bus, self.devices[name], length, offset))

    def add_device(self, name: str, device: Device) -> None:
        """One that is reset and in snapshots; where it answers is its maker's business."""
        device.name = name
        self.devices[name] = device

    def add(self, part: Part) -> None:
        """Make the device of a line of the list, and put it where the line says. BusConflict where another one is."""
        device = part.make(self, [self.irq(number, part.name) for number in part.irqs] if part.irqs else ())
        self.add_device(part.name, device)
        kind, places = parsed(part.where)
        if kind == "PCI":
            assert isinstance(device, PciFunction)
            self._add_function(device, *places[0][:2])
        else:
            attach = self.mmio.attach if kind == "memory" else self.ports.attach
            for first, length, offset in places:
                attach(device, first, length, offset)

    def _add_function(self, function: PciFunction, slot: int, number: int) -> None:
        self.part("PCI ports", ConfigPorts).attach(function, slot, number)
        if function.interrupt_pin:
            self.part("ISA bridge", IsaBridge).connect(function, slot, function.interrupt_pin)


def _attached(bus: Bus, device: Device, length: int, offset: int, address: int) -> Callable[[], None]:
    """Put the device there; answers what takes it away."""
    return partial(bus.detach, bus.attach(device, address, length, offset))


@cache
def parsed(where: str) -> tuple[str, Sequence[tuple[int, int, int]]]:
    """What a `Part` says of its place: "PCI" with slot and number, "memory" or "ports" with `addresses`."""
    kind, _, rest = where.partition(" ")
    if kind == "PCI":
        slot, number = (int(each, 16) for each in rest.split("."))
        return kind, [(slot, number, 0)]
    return (kind, addresses(rest)) if kind == "memory" else ("ports", addresses(where))


def addresses(ranges: str) -> Sequence[tuple[int, int, int]]:
    """First address, length and first offset of each range in "60 64 A0-A1 3F6@8"."""
    found = []
    offset = 0
    for each in ranges.split():
        bounds, _, at = each.partition("@")
        first, _, last = bounds.partition("-")
        offset = int(at, 16) if at else offset
        length = int(last or first, 16) - int(first, 16) + 1
        found.append((int(first, 16), length, offset))
        offset += length
    return found
