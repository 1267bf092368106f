"""What a PC's firmware asks fw_cfg for: the keys and files SeaBIOS reads."""

import struct
from collections.abc import Mapping, Sequence

from bt.firmware.e820 import MemoryRange, MemoryType
from bt.firmware.fw_cfg import FwCfg

UUID, RAM_SIZE, NO_GRAPHIC, CPU_COUNT = 0x02, 0x03, 0x04, 0x05
NUMA, BOOT_MENU, MAX_CPUS = 0x0D, 0x0E, 0x0F
ACPI_TABLES, SMBIOS_ENTRIES, IRQ0_OVERRIDE = 0x8000, 0x8001, 0x8002


def describe_pc(
    config: FwCfg,
    memory: Sequence[MemoryRange],
    *,
    cpus: int = 1,
    graphics: bool = True,
    boot_menu: bool = False,
    boot_order: Sequence[str] = (),
    option_roms: Mapping[str, bytes] = {},
) -> None:
    """Fill in what every PC has. `boot_order`: paths as Open Firmware spells them; `option_roms`: by file name, of
    folder vgaroms/ or genroms/."""
    ram = sum(part.length for part in memory if part.type == MemoryType.USABLE)
    for key, data in (
        (UUID, bytes(16)),
        (RAM_SIZE, struct.pack("<Q", ram)),
        (NO_GRAPHIC, struct.pack("<H", not graphics)),
        (CPU_COUNT, struct.pack("<H", cpus)),
        (NUMA, bytes(8 + 8 * cpus)),  # no nodes, and so no CPU in one
        (BOOT_MENU, struct.pack("<H", boot_menu)),
        (MAX_CPUS, struct.pack("<H", cpus)),
        (ACPI_TABLES, b""),
        (SMBIOS_ENTRIES, b""),
        (IRQ0_OVERRIDE, struct.pack("<I", 1)),  # the timer is on I/O APIC input 2
    ):
        config.add(key, data)
    config.add_file("etc/e820", b"".join(struct.pack("<QQI", *part) for part in memory))
    config.add_file("bootorder", "\n".join(boot_order).encode() + b"\0" if boot_order else b"")
    config.add_file("bios-geometry", b"")
    config.add_file("etc/boot-fail-wait", struct.pack("<i", -1))  # milliseconds until the next try: never
    for path, rom in option_roms.items():
        config.add_file(path, rom)
