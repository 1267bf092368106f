"""What a PC is made of, where the guest finds it, and which wires go where. Read this file first.

The tables are the maps of ports, device windows, interrupt requests and PCI slots. A further device is a file in
bt/devices and a line here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.chipset.dma8237 import Dma8237Pair
from bt.devices.chipset.fpu_error import FpuError
from bt.devices.chipset.pic8259 import Pic8259Pair
from bt.devices.chipset.pit8254 import Pit8254
from bt.devices.chipset.port61 import Port61
from bt.devices.chipset.port92 import Port92
from bt.devices.debug.debug_console import DebugConsole
from bt.devices.debug.debug_exit import DebugExit
from bt.devices.debug.post_port import PostPort
from bt.devices.device import Device, Line
from bt.devices.display.vga_pci import FRAMEBUFFER, REGISTERS, REGISTERS_BYTES, vga_function
from bt.devices.input.i8042 import I8042
from bt.devices.input.keyboard import Keyboard
from bt.devices.input.mouse import Mouse
from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.function import ROM, PciFunction
from bt.devices.pci.i440fx import HostBridge
from bt.devices.pci.piix3 import IsaBridge, ResetControl
from bt.devices.pci.piix4_pm import PM, PM_BYTES, SMBUS, SMBUS_BYTES, ApmPorts, Gpe, PmFunction, PmRegisters, SmBus
from bt.devices.serial.uart16550 import Uart16550
from bt.firmware import roms
from bt.firmware.fw_cfg import FwCfg
from bt.machine import storage
from bt.machine.added import AddedDevice
from bt.machine.apic import io_apic, local_apic
from bt.machine.board import Board, Part
from bt.machine.config import MachineConfig
from bt.machine.media import Drive
from bt.machine.place import places
from bt.x86 import cpu_model

ALL_IRQS = tuple(range(16))
VGA_PORTS = "3B4-3B5@4 3BA@A 3C0-3CF@10 3D4-3D5@24 3DA@2A"
# fmt: off
# Where interrupts arrive comes first: snapshots are restored in this order, and a wire leads to what knows its level.
PIC = Part("PIC",           "20-21 A0-A1 4D0-4D1",      (), lambda b, irq: Pic8259Pair(b.pic_intr))
# Of a processor that says it has one; where it is, is the processor's to say.
LOCAL_APIC = Part("local APIC", "",                         (), lambda b, irq: local_apic(b))
IO_APIC = Part("I/O APIC",      "memory FEC00000-FEC00FFF", (), lambda b, irq: io_apic(b))
ISA = (
    #    device           where                   IRQ       made of
    Part("PIT",           "40-43",                (0,),     lambda b, irq: Pit8254(b.clock, irq[0])),
    Part("keyboard",      "60 64",                (1, 12),  lambda b, irq: _keyboard(b, irq)),
    Part("port 61",       "61",                   (),       lambda b, irq: Port61(b.clock, b.pit)),
    Part("RTC",           "70-71",                (8,),     lambda b, irq: _rtc(b, irq[0])),
    Part("POST port",     "80",                   (),       lambda b, irq: PostPort()),
    Part("DMA",           "00-0F C0-DF@20 81-8F@41", (),    lambda b, irq: Dma8237Pair(b.dma_memory)),
    Part("port 92",       "92",                   (),       lambda b, irq: Port92(b.cpu.set_a20, b.out.restart)),
    Part("port E9",       "E9",                   (),       lambda b, irq: DebugConsole(b.out.console)),
    Part("FPU error",     "F0-F1",                (13,),    lambda b, irq: FpuError(irq[0], b.cpu.ignore_fp_error)),
    Part("debug exit",    "F4-F7 501-504",        (),       lambda b, irq: DebugExit(b.out.exit)),
    Part("IDE 1",         "1F0-1F7 3F6",          (14,),    lambda b, irq: storage.ide_channel(b, 0, irq[0])),
    Part("IDE 2",         "170-177 376",          (15,),    lambda b, irq: storage.ide_channel(b, 1, irq[0])),
    Part("VGA registers", VGA_PORTS,              (),       lambda b, irq: b.vga.registers),
    Part("DISPI",         "1CE-1D1",              (),       lambda b, irq: b.vga.dispi),
    Part("VGA memory",    "memory A0000-BFFFF",   (),       lambda b, irq: b.vga.memory),
    Part("COM2",          "2F8-2FF",              (3,),     lambda b, irq: Uart16550(irq[0], b.out.serial[1])),
    Part("floppy",        "3F0-3F5 3F7@7",        (6,),     lambda b, irq: storage.floppy_controller(b, irq[0])),
    Part("COM1",          "3F8-3FF",              (4,),     lambda b, irq: Uart16550(irq[0], b.out.serial[0])),
    Part("firmware log",  "402",                  (),       lambda b, irq: DebugConsole(b.out.firmware_log)),
    Part("fw_cfg",        "510-511 514-51B@4",    (),       lambda b, irq: FwCfg(b.dma_memory)),
)
# What stands behind a PCI function comes before it: the function moves it about.
PCI = (
    #    device           where          IRQ       made of
    Part("reset control", "",            (),       lambda b, irq: ResetControl(lambda hard: b.out.restart())),
    Part("PCI ports",     "CF8-CFF",     (),       lambda b, irq: ConfigPorts(b.part("reset control", ResetControl))),
    Part("host bridge",   "PCI 0.0",     (),       lambda b, irq: HostBridge(b.memory.set_region)),
    Part("ISA bridge",    "PCI 1.0",     ALL_IRQS, lambda b, irq: IsaBridge(irq)),
    Part("bus master 1",  "",            (),       lambda b, irq: storage.bus_master(b, 0)),
    Part("bus master 2",  "",            (),       lambda b, irq: storage.bus_master(b, 1)),
    Part("IDE function",  "PCI 1.1",     (),       lambda b, irq: storage.ide_pci_function(b)),
    Part("PM",            "",            (9,),     lambda b, irq: PmRegisters(b.clock, irq[0], b.out.power_off)),
    Part("APM",           "B2-B3",       (),       lambda b, irq: ApmPorts(b.part("PM", PmRegisters))),
    Part("GPE",           "AFE0-AFE3",   (9,),     lambda b, irq: Gpe(irq[0])),
    Part("SMBus",         "",            (),       lambda b, irq: SmBus()),
    Part("PM function",   "PCI 1.3",     (),       lambda b, irq: _pm_function(b)),
    Part("VGA MMIO",      "",            (),       lambda b, irq: b.vga.mmio),
    Part("VGA function",  "PCI 2.0",     (),       lambda b, irq: _vga_function(b)),
)
# fmt: on
FIRST_VIRTIO_SLOT = 3


def parts(config: MachineConfig, drives: Sequence[Drive]) -> Iterator[Part]:
    """The list of parts of a machine that has `drives`, each with its place."""
    replaced = {added.row.instead_of for added in config.devices}
    yield PIC
    if "apic" in cpu_model.parse(config.cpu).features:
        yield LOCAL_APIC
        if config.machine == "pc":
            yield IO_APIC
    yield from (part for part in ISA if part.name not in replaced)
    if config.machine == "pc":
        yield from PCI
        yield from storage.virtio_parts(drives, FIRST_VIRTIO_SLOT)
    for added in config.devices:
        yield Part(f"{added.kind} {added.where}", added.where, (), partial(_added, added))


def _added(added: AddedDevice, b: Board, irq: Sequence[Line]) -> Device:
    return added.row.make(b, added.values)


def _keyboard(b: Board, irq: Sequence[Line]) -> I8042:
    keyboard, mouse = Keyboard(b.clock), Mouse(b.clock)
    return I8042(irq[0], irq[1], b.cpu.set_a20, b.out.restart, keyboard=keyboard, mouse=mouse)


def _rtc(b: Board, irq8: Line) -> CmosRtc:
    return CmosRtc(
        b.clock, irq8, b.config.memory, b.config.rtc_base, nvram=storage.cmos_values(b.media, b.config.boot_order)
    )


def _pm_function(b: Board) -> PmFunction:
    return PmFunction(places({PM: b.on_ports("PM", PM_BYTES), SMBUS: b.on_ports("SMBus", SMBUS_BYTES)}))


def _vga_function(b: Board) -> PciFunction:
    regions = {FRAMEBUFFER: b.memory.framebuffer(), REGISTERS: b.on_memory("VGA MMIO", REGISTERS_BYTES)}
    shown = region_bytes(roms.option_rom_bytes(b.vga_bios, b.config.rom_directories))
    if shown:
        read = partial(roms.read_option_rom, b.vga_bios, b.config.rom_directories)
        regions[ROM] = b.memory.option_rom(read, shown)
    return vga_function(b.memory.video.size, shown, places(regions))


def region_bytes(length: int) -> int:
    """Of the region that shows a ROM of that length: the next power of two."""
    return 1 << (length - 1).bit_length() if length else 0
