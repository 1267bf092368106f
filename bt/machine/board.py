"""The board: the devices of a PC, where the guest finds them, and which wires go where. Read this file first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bt.clock.virtual_clock import VirtualClock
from bt.devices.chipset import fpu_error
from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.chipset.fpu_error import FpuError
from bt.devices.chipset.pic8259 import Pic8259Pair
from bt.devices.chipset.pit8254 import Pit8254
from bt.devices.chipset.port61 import Port61
from bt.devices.chipset.port92 import Port92
from bt.devices.debug import debug_console, post_port
from bt.devices.debug.debug_console import DebugConsole
from bt.devices.debug.debug_exit import DebugExit
from bt.devices.debug.post_port import PostPort
from bt.devices.device import Line
from bt.devices.input.i8042 import I8042
from bt.devices.serial.uart16550 import Uart16550
from bt.engine.vcpu import Vcpu
from bt.machine.config import MachineConfig
from bt.memory.bus import DEVICE_WINDOW_ACCESS_NS, PORT_ACCESS_NS, Bus

EXIT_PORTS = (0xF4, 0x501)


@dataclass(frozen=True)
class Outside:
    """What devices reach beyond the board."""

    serial: Callable[[int], None]  # takes each byte that COM1 sends
    console: Callable[[int], None]  # takes each byte written to port 0xE9
    reset: Callable[[], None]  # the guest wants the machine to be reset
    exit: Callable[[int], None]  # the guest ends the run with a status


class Board:
    """The devices of one machine, on its buses."""

    def __init__(self, config: MachineConfig, cpu: Vcpu, clock: VirtualClock, outside: Outside) -> None:
        self._cpu = cpu
        self.ports = Bus("ports", 16, PORT_ACCESS_NS, cpu.port_values, cpu.port_access)
        self.mmio = Bus("memory", 36, DEVICE_WINDOW_ACCESS_NS)
        intr = Line("INTR")
        intr.watch(self._intr_changed)
        self.pic = Pic8259Pair(intr)
        self.pit = Pit8254(clock, self.pic.line(0))
        self.com1 = Uart16550(self.pic.line(4), outside.serial, "COM1")
        self.rtc = CmosRtc(clock, self.pic.line(8), config.memory, config.rtc_base)
        self.fpu_error = FpuError(self.pic.line(13), self._ignore_fp_error)
        keyboard = I8042(self.pic.line(1), self.pic.line(12), self._set_a20, outside.reset)
        port61 = Port61(clock, self.pit.gate2, lambda: self.pit.out(2))
        attach = self.ports.attach
        attach(self.pic, 0x20, 2)
        attach(self.pic, 0xA0, 2, offset=2)
        attach(self.pic, 0x4D0, 2, offset=4)
        attach(self.pit, 0x40, 4)
        attach(keyboard, 0x60, 1)
        attach(port61, 0x61, 1)
        attach(keyboard, 0x64, 1, offset=4)
        attach(self.rtc, 0x70, 2)
        attach(PostPort(), 0x80, post_port.LENGTH)
        attach(self.fpu_error, fpu_error.FIRST_PORT, fpu_error.LENGTH)
        attach(Port92(self._set_a20, outside.reset), 0x92, 1)
        attach(DebugConsole(outside.console), debug_console.DEFAULT_PORT, 1)
        attach(self.com1, 0x3F8, 8)
        for port in EXIT_PORTS:
            attach(DebugExit(outside.exit, f"debug exit {port:#x}"), port, 4)

    def _intr_changed(self, level: bool) -> None:
        self._cpu.state["intr_pending"] = int(level)

    def _ignore_fp_error(self) -> None:
        self._cpu.state["ignore_fp_error"] = 1

    def _set_a20(self, enabled: bool) -> None:
        mask = (1 << 64) - 1
        self._cpu.state["a20_mask"] = mask if enabled else mask & ~(1 << 20)
        self._cpu.call("flush_tlb", 1)
