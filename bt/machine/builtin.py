"""The built-in firmware on a board: what it sees of it (bt/firmware/builtin)."""

from __future__ import annotations

from functools import partial

from bt.boot.loaders.boot_sector import Stop
from bt.devices.pci.config_ports import ConfigPorts
from bt.devices.pci.i440fx import ALL_RAM, FIRST_PAM
from bt.devices.storage.ata.ata_device import AtaDevice
from bt.devices.storage.ata.ide_channel import IdeChannel
from bt.devices.storage.disk_port import DiskPort
from bt.end import End
from bt.firmware.builtin import post, rom
from bt.firmware.builtin.bios import Bios
from bt.firmware.builtin.pc import AtaPlace, DirectPlace, Facts, Pc, Place
from bt.firmware.e820 import memory_map, upper_kib
from bt.machine.board import Board
from bt.machine.hand_over.everything import RESET_CODE, RESET_VECTOR, initialise
from bt.machine.hand_over.pci import HOST_BRIDGE
from bt.machine.storage import floppy_kinds
from bt.x86.state import CS, ESP, SS, CpuState

ROM_IS_READ_ONLY = 0x10  # of PAM 0: F0000h-FFFFFh


class AskingProcessor:
    """Where the processor is when it asks."""

    def __init__(self, state: CpuState) -> None:
        self._state = state

    def code(self) -> int:
        return self._state.segment(CS, "base") + self._state["eip"]

    def stack(self) -> int:
        return self._state.segment(SS, "base") + (self._state["gpr", ESP] & 0xFFFF)


class Surroundings:
    """What the firmware does to the board as a whole."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.restart = board.out.restart
        self.warn = board.out.warn

    def prepare(self) -> None:
        board = self._board
        if board.config.machine == "pc":
            bridge = board.part("PCI ports", ConfigPorts).functions[HOST_BRIDGE]
            bridge.write(FIRST_PAM, 1, ALL_RAM)
            board.dma_memory.write(rom.ROM_BASE, rom.image())
            initialise(board)
            bridge.write(FIRST_PAM, 1, ROM_IS_READ_ONLY)
        else:
            initialise(board)

    def stop(self, detail: str, is_want_of_handler: bool) -> None:
        self._board.out.want(Stop(End.NO_HANDLER if is_want_of_handler else End.BIOS_SERVICE, detail))


def install_builtin(board: Board) -> None:
    """Put its ROM and its ports on the board."""
    _services(board)
    board.memory.add_bios(rom.image())


def start_services(board: Board) -> None:
    """Have the board as the firmware leaves it to what it starts, for a guest that is loaded without it but calls it.

    Its reset vector starts the machine again, and with it the guest.
    """
    bios = _services(board)
    ram = board.memory.ram
    ram.write(rom.ROM_BASE, rom.image())
    post.initialise(bios)
    ram.write(RESET_VECTOR, RESET_CODE)


def _services(board: Board) -> Bios:
    """The device that answers when its ROM asks; a machine that has had a use for it has one."""
    if isinstance(there := board.devices.get(Bios.NAME), Bios):
        return there
    state = board.cpu.state
    video = board.vga.memory

    def on_disk(error: OSError | None) -> None:
        bios.on_disk(error)

    pc = Pc(
        board.memory.ram,
        board.dma_memory,
        board.ports,
        board.mmio,
        board.clock,
        lambda: state["a20_mask"],
        partial(_ide_device, board),
        [DiskPort(board.clock, disk, on_disk, board.post) for _, disk in board.media.of("virtio").values()],
        video.put_map,
        video.map_bytes,
        facts(board),
    )
    bios = Bios(pc, AskingProcessor(state), Surroundings(board))
    board.add_device(bios.name, bios)
    board.ports.attach(bios, rom.ASK_PORT, 2)
    return bios


def facts(board: Board) -> Facts:
    size = board.config.memory
    drives: list[Place] = [
        AtaPlace(index // 2, index % 2, drive.media == "cdrom", disk.sectors if disk is not None else 0)
        for index, (drive, disk) in board.media.of("ide").items()
    ]
    for number, (_, disk) in enumerate(board.media.of("virtio").values()):
        assert disk is not None, "virtio disks stay"
        drives.append(DirectPlace(number, disk.sectors))
    return Facts(
        [(each.base, each.length, each.type) for each in memory_map(size)],
        upper_kib(size),
        drives,
        floppy_kinds(board.media),
        board.config.boot_order,
        board.config.machine == "pc",
    )


def _ide_device(board: Board, channel: int, position: int) -> AtaDevice | None:
    return board.part(f"IDE {channel + 1}", IdeChannel).device(position)
