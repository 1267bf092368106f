"""What a machine is to be made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, get_args

from bt import arguments
from bt.boot.placement import check_address_lines, check_ram_size
from bt.devices.chipset import cmos_rtc
from bt.errors import BadUsage
from bt.firmware.cmos import BOOT_LETTERS
from bt.machine.added import AddedDevice
from bt.machine.media import Drive
from bt.record import Record
from bt.x86 import cpu_model

EngineName = Literal["interp", "bt"]
TierName = Literal["1", "2", "auto"]
MachineName = Literal["pc", "isapc"]
DisplayName = Literal["std", "none"]
ClockMode = Literal["icount", "host"]
AfterTripleFault = Literal["end", "reset"]


class MachineConfig(Record):
    """What a machine is made of; BadUsage, which says what there is, for what it cannot have.

    `memory` in bytes, 2 MiB to 63.5 GiB in whole pages, above 3.5 only with a processor that has more than 32 address
    lines; `engine`: "bt" translates, "interp" interprets; `clock`: "icount"
    is deterministic, "host" follows the host; `tier`: what the translator may do, "1" stencils only, "2" identity as
    soon as it can, "auto" where that pays; `cpu` as QEMU spells it; `rtc_base`: what
    the RTC shows at power-on, with a time zone; `no_reboot`: the guest's reset ends the run (End.RESET) instead of
    starting the machine again.
    `triple_fault`: "end" ends the run (End.TRIPLE_FAULT); "reset" resets the machine, as a PC does, and lets a guest
    that does nothing else go on with it for ever.

    `machine`: "pc" has PCI (440FX, PIIX), "isapc" has none. `drives`: disks, CD-ROMs, diskettes. `bios`: the firmware
    that `Machine.boot` starts, a file, or a name looked for in `rom_directories` and where systems have it; SeaBIOS by
    default. `boot_order`: letters as QEMU's -boot has them: a diskette, c disk, d CD-ROM, n network. `graphics`:
    firmware is to use the display; without, SeaBIOS shows its text on COM1. `vga`: "std" is a VGA with QEMU's display
    interface, with "none" there is no display. `devices`: what is there only if it is asked for (bt/machine/added.py).
    """

    memory: int = 128 << 20
    engine: EngineName = "bt"
    tier: TierName = "auto"
    clock: ClockMode = "icount"
    cpu: str = cpu_model.DEFAULT
    rtc_base: datetime = cmos_rtc.DEFAULT_BASE
    no_reboot: bool = False
    triple_fault: AfterTripleFault = "end"
    machine: MachineName = "pc"
    drives: tuple[Drive, ...] = ()
    bios: str | None = None
    rom_directories: tuple[str, ...] = ()
    boot_order: str = "cad"
    boot_menu: bool = False
    graphics: bool = True
    vga: DisplayName = "std"
    devices: tuple[AddedDevice, ...] = ()

    def __post_init__(self) -> None:
        arguments.whole_number("memory", self.memory, "a whole number of bytes is wanted, such as 64 << 20")
        check_ram_size(self.memory, f"memory={self.memory}")
        arguments.one_of("engine", self.engine, get_args(EngineName))
        arguments.one_of("tier", self.tier, get_args(TierName))
        arguments.one_of("clock", self.clock, get_args(ClockMode))
        arguments.instance("cpu", self.cpu, str, f"the name of a processor is wanted, such as {cpu_model.DEFAULT!r}")
        model = cpu_model.parse(self.cpu)
        check_address_lines(self.memory, model.address_bits, f"memory={self.memory}: a {model.name}")
        with_zone = isinstance(self.rtc_base, datetime) and self.rtc_base.tzinfo is not None
        arguments.require(with_zone, "rtc_base", self.rtc_base, "a datetime with a time zone is wanted")
        for name in ("no_reboot", "boot_menu", "graphics"):
            arguments.instance(name, getattr(self, name), bool, "True or False is wanted")
        arguments.one_of("triple_fault", self.triple_fault, get_args(AfterTripleFault))
        arguments.one_of("machine", self.machine, get_args(MachineName))
        arguments.one_of("vga", self.vga, get_args(DisplayName))
        arguments.require(
            isinstance(self.drives, tuple) and all(isinstance(drive, Drive) for drive in self.drives),
            "drives", self.drives, "a tuple of Drive is wanted",
        )  # fmt: skip
        good = isinstance(self.devices, tuple) and all(isinstance(each, AddedDevice) for each in self.devices)
        arguments.require(good, "devices", self.devices, "a tuple of AddedDevice is wanted")
        for drive in self.drives:
            if drive.interface == "virtio" and self.machine != "pc":
                raise BadUsage(
                    f"{drive.file}: a virtio disk needs PCI, which {self.machine} has not: have it behind ide, "
                    "or take machine pc"
                )
        letters = self.boot_order
        good = isinstance(letters, str) and set(letters) <= BOOT_LETTERS.keys() and len(set(letters)) == len(letters)
        arguments.require(good, "boot_order", letters, "letters are wanted, each once: a, c, d, n")
        arguments.instance("bios", self.bios, (str, type(None)), "the name of a file is wanted")

    @property
    def has_display(self) -> bool:
        return self.vga != "none"


class Sinks(TypedDict, total=False):
    """What gets each byte that ports send, by the names that `Machine` has for them."""

    serial: Callable[[int], None]
    serial2: Callable[[int], None]
    console: Callable[[int], None]
    firmware_log: Callable[[int], None]


class Options(TypedDict, total=False):
    """The fields of MachineConfig, as `Machine` takes them by name."""

    memory: int | str
    engine: EngineName
    tier: TierName
    clock: ClockMode
    cpu: str
    rtc_base: datetime
    no_reboot: bool
    triple_fault: AfterTripleFault
    machine: MachineName
    drives: Sequence[Drive]
    bios: str | None
    rom_directories: Sequence[str]
    boot_order: str
    boot_menu: bool
    graphics: bool
    vga: DisplayName
    devices: Sequence[AddedDevice]


def configured(config: MachineConfig | None, options: Options) -> MachineConfig:
    """A configuration with other fields: memory may be "64M", sequences are what tuples are made of. BadUsage."""
    if config is not None and not options:
        return config
    found: dict[str, Any] = dict(options)
    if isinstance(memory := found.get("memory"), str):
        found["memory"] = arguments.size_in_bytes("memory", memory)
    for name in ("drives", "rom_directories", "devices"):
        if isinstance(found.get(name), list):
            found[name] = tuple(found[name])
    known = MachineConfig.FIELDS
    for name in found:
        arguments.require(name in known, name, found[name], f"no such option; there are {', '.join(known)}")
    return (MachineConfig() if config is None else config).replace(**found)
