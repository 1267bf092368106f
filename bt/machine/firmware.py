"""What a machine tells its firmware, and where it puts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt import __version__
from bt.firmware import e820, roms
from bt.firmware.fw_cfg import FwCfg
from bt.firmware.pc_items import describe_pc
from bt.machine.board import Board
from bt.machine.config import MachineConfig
from bt.memory.map_layout import low_ram
from bt.x86 import cpu_model

if TYPE_CHECKING:
    from bt.firmware import smbios
    from bt.firmware.acpi.tables import Hardware

ISA_VGA_BIOS = "vgaroms/vgabios.bin"  # how a display that is not on PCI has its option ROM


def install(board: Board) -> None:
    """Map the BIOS, and fill what it reads. Raises BadUsage or BadImage, nothing changed."""
    config = board.config
    files = roms.FIRMWARE[config.machine]
    if is_builtin(config):
        from bt.machine.builtin import install_builtin

        install_builtin(board)
        return
    board.memory.add_bios(roms.read_bios(config.bios or files.bios, config.rom_directories))
    option_roms = {}
    if config.machine == "isapc":
        option_roms[ISA_VGA_BIOS] = roms.read_option_rom(board.vga_bios, config.rom_directories)
    fw_cfg = board.part("fw_cfg", FwCfg)
    describe_pc(
        fw_cfg,
        e820.ram(config.memory),
        graphics=config.graphics,
        boot_menu=config.boot_menu,
        option_roms=option_roms,
    )
    if config.machine == "pc":
        _add_tables(fw_cfg, hardware(board))
        _add_smbios(fw_cfg, smbios_facts(config))


def is_builtin(config: MachineConfig) -> bool:
    """Whether bt's own firmware starts: it is asked for, or nothing is and no SeaBIOS is found."""
    if config.bios is None:
        return roms.find(roms.FIRMWARE[config.machine].bios, config.rom_directories) is None
    return config.bios == roms.BUILTIN


def hardware(board: Board) -> Hardware:
    """What the tables are to tell of the board."""
    from bt.firmware.acpi.tables import Hardware

    ports = [added.values["ioport"] for added in board.config.devices if added.kind == "pvpanic"]
    return Hardware(
        low_ram(board.config.memory),
        has_apics="I/O APIC" in board.devices,
        pvpanic=ports[0] if ports else None,
    )


def _add_tables(fw_cfg: FwCfg, known: Hardware) -> None:
    from bt.firmware.acpi.tables import acpi_tables
    from bt.firmware.linking import SCRIPT

    linkable = acpi_tables(known)
    for path, data in linkable.files.items():
        fw_cfg.add_file(path, bytes(data))
    fw_cfg.add_file(SCRIPT, linkable.script())


def smbios_facts(config: MachineConfig) -> smbios.Facts:
    """What SMBIOS is to tell of the machine."""
    from bt.firmware import smbios

    model = cpu_model.parse(config.cpu)
    _, signature, _, _, features = next(leaf for leaf in model.leaves() if leaf[0] == 1)
    return smbios.Facts(config.memory, signature, features, model.name, __version__)


def _add_smbios(fw_cfg: FwCfg, facts: smbios.Facts) -> None:
    from bt.firmware import smbios

    tables = smbios.structures(facts, with_bios=False)
    fw_cfg.add_file(smbios.STRUCTURES, tables)
    fw_cfg.add_file(smbios.ANCHOR, smbios.anchor(tables))
