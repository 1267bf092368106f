"""What a machine tells its firmware, and where it puts it."""

from __future__ import annotations

from bt.firmware import roms
from bt.firmware.fw_cfg import FwCfg
from bt.firmware.pc_items import MemoryRange, describe_pc
from bt.machine.board import Board
from bt.memory.map_layout import DEVICE_HOLE, HIGH_RAM

ISA_VGA_BIOS = "vgaroms/vgabios.bin"  # how a display that is not on PCI has its option ROM


def install(board: Board) -> None:
    """Map the BIOS, and fill what it reads. Raises BadUsage or BadImage, nothing changed."""
    config = board.config
    files = roms.FIRMWARE[config.machine]
    board.memory.add_bios(roms.read_bios(config.bios or files.bios, config.rom_directories))
    rom = roms.read_option_rom(board.vga_bios, config.rom_directories)
    low = min(config.memory, DEVICE_HOLE)
    ranges = [MemoryRange(0, low)]
    if config.memory > low:
        ranges.append(MemoryRange(HIGH_RAM, config.memory - low))
    describe_pc(
        board.part("fw_cfg", FwCfg),
        ranges,
        graphics=config.graphics,
        boot_menu=config.boot_menu,
        option_roms={} if config.machine == "pc" else {ISA_VGA_BIOS: rom},
    )
