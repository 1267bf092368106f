"""What `state` returns is the device's past: nothing that it does later changes it, nor does restoring from it."""

import json
import random
from collections.abc import Callable

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.apic.io_apic import IoApic
from bt.devices.apic.local_apic import LocalApic
from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.device import Device, Line
from bt.devices.display.vga import Vga
from bt.devices.input.i8042 import I8042
from bt.devices.input.keyboard import Keyboard
from bt.devices.input.mouse import Mouse
from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.i440fx import HostBridge
from bt.devices.pci.piix3 import IsaBridge, ResetControl
from bt.devices.pci.piix4_pm import ApmPorts, Gpe, PmFunction, PmRegisters, SmBus
from bt.firmware.fw_cfg import FwCfg
from bt.memory.ram import GuestRam

Exercise = Callable[[random.Random], None]


def accesses(device: Device, length: int, step: int = 1) -> Exercise:
    def exercise(rng: random.Random) -> None:
        for _ in range(300):
            offset = rng.randrange(0, length, step)
            size = rng.choice([size for size in (1, 2, 4) if size <= device.widest_access])
            device.write(offset, size, rng.getrandbits(8 * size))
            device.read(rng.randrange(0, length, step), size)

    return exercise


def _make(name: str, ram: GuestRam) -> tuple[Device, Exercise]:
    clock = VirtualClock()
    line = Line("line")
    vga = Vga(clock, bytearray(1 << 20))
    pm = PmRegisters(clock, line, lambda: None)
    keyboard = Keyboard(clock)
    controller = I8042(line, line, lambda on: None, lambda: None, keyboard=keyboard, mouse=Mouse(clock))
    isa = IsaBridge([Line(f"IRQ{number}") for number in range(16)])
    config = FwCfg(ram)
    config.add_file("etc/writable", bytes(64), writable=True)
    io_apic = IoApic(lambda message: True)

    def keys(rng: random.Random) -> None:
        for _ in range(100):
            keyboard.press(rng.choice("abc"))
            keyboard.release(rng.choice("abc"))
            controller.write(rng.choice([0, 4]), 1, rng.choice([0x20, 0xD4, 0xF0, 0xF4, 0xFB, rng.randrange(256)]))
            controller.read(rng.choice([0, 4]), 1)

    def entries(rng: random.Random) -> None:
        for _ in range(100):
            io_apic.write(0, 4, rng.randrange(0x40))
            io_apic.write(0x10, 4, rng.getrandbits(32))

    found: dict[str, tuple[Device, Exercise]] = {
        "VGA registers": (vga.registers, accesses(vga.registers, 0x30)),
        "DISPI": (vga.dispi, accesses(vga.dispi, 3)),
        "VGA memory": (vga.memory, accesses(vga.memory, 0x1FFF8)),
        "8042": (controller, keys),
        "RTC": (rtc := CmosRtc(clock, line), accesses(rtc, 2)),
        "PCI configuration": (ports := ConfigPorts(), accesses(ports, 8, 4)),
        "host bridge": (host := HostBridge(lambda *region: None), accesses(host, 252, 4)),
        "ISA bridge": (isa, accesses(isa, 252, 4)),
        "PM function": (function := PmFunction(), accesses(function, 252, 4)),
        "PM": (pm, accesses(pm, 12, 4)),
        "APM": (apm := ApmPorts(pm), accesses(apm, 2)),
        "GPE": (gpe := Gpe(line), accesses(gpe, 4)),
        "SMBus": (smbus := SmBus(), accesses(smbus, 16)),
        "reset control": (control := ResetControl(lambda hard: None), accesses(control, 1)),
        "local APIC": (apic := LocalApic(clock, line, lambda: 0, lambda: None), accesses(apic, 0x400, 16)),
        "I/O APIC": (io_apic, entries),
        "fw_cfg": (config, accesses(config, 12)),
    }
    return found[name]


NAMES = [
    "VGA registers", "DISPI", "VGA memory", "8042", "RTC", "PCI configuration", "host bridge", "ISA bridge",
    "PM function", "PM", "APM", "GPE", "SMBus", "reset control", "local APIC", "I/O APIC", "fw_cfg",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_the_past(name: str) -> None:
    with GuestRam(1 << 16) as ram:
        device, exercise = _make(name, ram)
        rng = random.Random(1)
        exercise(rng)
        state = device.state()
        written = json.dumps(state)
        for _ in range(3):
            exercise(rng)
            assert json.dumps(state) == written
            device.restore(state)
            assert json.dumps(device.state()) == written


@pytest.mark.parametrize("name", NAMES)
def test_reset_leaves_what_power_on_did(name: str) -> None:
    """But for what a reset keeps: time, memory, layouts of memory, writable files, levels of inputs."""
    kept = {"ram", "_phase_ns", "_seconds", "_mark", "_weekday_shift", "_periods_seen", "_updates_seen", "event",
            "_next_ns", "start_ns", "_in_pairs", "written", "_inputs", "_seen_half_rounds", "last", "held",
            "_reported_buttons", "_buttons", "_index", "base_enabled"}  # fmt: skip

    def visible(state: object) -> object:
        if isinstance(state, dict):
            return {key: visible(value) for key, value in state.items() if key not in kept}
        return state

    with GuestRam(1 << 16) as ram:
        device, exercise = _make(name, ram)
        fresh = visible(device.state())
        exercise(random.Random(2))
        device.reset()
        assert visible(device.state()) == fresh
