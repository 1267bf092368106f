"""Registers of devices in native code: written once, with the builder of instructions, next to their device.

A file `*_native.py` declares what a device shares with its native code (bt/devices/shared.py) and has the code, whose
functions get a `NativeDevice` (bt/devices/native_device.py). The device says in `native_registers` or `native_window`
which of them answers where. Code that meets something rare asks Python, with nothing changed; the Python model is what
tests hold it against (tests/devices/native).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bt.codegen.builder import Module
    from bt.devices.native_device import NativeDevice


class NativeCode(NamedTuple):
    """What answers for registers; `name` is its symbol."""

    name: str
    body: Callable[[NativeDevice], None]


def native_code(body: Callable[[NativeDevice], None]) -> NativeCode:
    """Decorator: builds a function that answers for reads, or for writes, of registers."""
    return NativeCode(f"{body.__module__.rpartition('.')[2]}_{body.__name__}", body)


class NativeDevices(NamedTuple):
    """The native code of all devices: a part of the library (bt/engine/library/library.py).

    `modules` are those that it is in, and those that it takes numbers from.
    """

    modules: Sequence[str]
    name: str = "devices"

    @property
    def sources(self) -> Sequence[Path]:
        folder = Path(__file__).parent
        found = [folder / f"{module.removeprefix('bt.devices.').replace('.', '/')}.py" for module in self.modules]
        return [*found, *(folder / f"{name}.py" for name in ("shared", "native", "native_device"))]

    def module(self) -> Module:
        from bt.devices.native_device import device_module

        codes = [
            value
            for module in self.modules
            for value in vars(import_module(module)).values()
            if isinstance(value, NativeCode)
        ]
        return device_module(codes)


NATIVE_DEVICES = NativeDevices(
    (
        "bt.devices.apic.message",
        "bt.devices.apic.local_apic_native",
        "bt.devices.chipset.cmos_rtc_native",
        "bt.devices.chipset.pic8259_native",
        "bt.devices.chipset.pit8254_native",
        "bt.devices.chipset.port61_native",
        "bt.devices.display.vga_native",
        "bt.devices.pci.piix4_pm_native",
        "bt.devices.debug.output_native",
        "bt.devices.serial.uart_native",
        "bt.devices.storage.ata.bus_master_native",
        "bt.devices.storage.ata.ide_native",
    )
)
