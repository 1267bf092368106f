"""What SeaBIOS would have left, for guests that are loaded without firmware.

What its services and drivers keep for themselves is missing: nobody here would serve their interrupts. All vectors of
real mode are empty, but for boot sectors, which bring their own (bt/boot/loaders/boot_sector.py).
"""

from __future__ import annotations

from bt.boot.state import EntryState
from bt.machine.board import Board
from bt.machine.hand_over.data_area import data_area
from bt.machine.hand_over.text_mode import set_text_mode

# A20 open. The second DMA controller passes the first one's requests on. The keyboard interrupts, scan codes are
# translated, and the mouse is off.
PORTS = ((0x92, 0x02), (0xD6, 0xC0), (0xD4, 0x00), (0x64, 0x60), (0x60, 0x61))
PCI_PORTS = ((0x4D0, 0x00), (0x4D1, 0x0C))  # level-triggered: 10 and 11
# The end of a BIOS, where real mode goes to start the machine again: OUT 64h, FEh; HLT. Date and model of an AT.
RESET_VECTOR, RESET_CODE, DATE, MODEL = 0xFFFF0, bytes.fromhex("b0fee664f4"), b"06/23/99", b"\0\xfc\0"


def hand_over(board: Board, entry: EntryState) -> None:
    """Have the board as firmware leaves it to a guest that has been loaded."""
    if entry.calls_bios:
        from bt.machine.builtin import start_services  # others have no need of it

        start_services(board)
        return
    initialise(board)
    board.dma_memory.write(RESET_VECTOR, RESET_CODE + DATE + MODEL)
    if entry.has_data_area:
        for address, data in data_area(board):
            board.dma_memory.write(address, data)
    for port, value in entry.port_writes:
        board.ports.write(port, 1, value)


def initialise(board: Board) -> None:
    """Have the devices, and the tables about them, as firmware leaves them."""
    for port, value in PORTS:
        board.ports.write(port, 1, value)
    if board.config.has_display:
        set_text_mode(board.vga)
    if board.config.machine == "pc":
        from bt.machine.hand_over.pci import configure
        from bt.machine.hand_over.tables import tables

        for port, value in PCI_PORTS:
            board.ports.write(port, 1, value)
        for address, data in tables(board, configure(board)):
            board.dma_memory.write(address, data)
    if board.local_apic is not None:
        board.local_apic.set_up_virtual_wire()
