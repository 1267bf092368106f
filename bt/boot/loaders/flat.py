"""Raw images: bytes at an address of the user's choice, started there in 32-bit flat protected mode.

CS = 0x08, the other segments 0x10, a GDT that holds them, interrupts and paging off, general registers zero except
ESP, which has a page of stack below it.
"""

from bt.boot.loaders.protected_mode import flat_entry, flat_gdt
from bt.boot.placement import Executable, PhysicalMemory, check_pieces, first_fit, piece, store
from bt.boot.state import EntryState
from bt.errors import BadImage
from bt.x86.page import PAGE

CODE_SELECTOR = 0x08
DATA_SELECTOR = 0x10


def load(name: str, image: bytes, ram: PhysicalMemory, address: int) -> EntryState:
    """Put `image` at physical `address` and enter at its first byte. Raises BadImage."""
    if not image:
        raise BadImage(f"{name}: the file is empty")
    return enter(name, Executable(address, [piece(address, image, "raw image")]), ram)


def enter(name: str, executable: Executable, ram: PhysicalMemory) -> EntryState:
    """Store the executable, a GDT and a stack page, and enter it. Raises BadImage."""
    gdt = flat_gdt(CODE_SELECTOR, DATA_SELECTOR)
    gdt_base = first_fit(PAGE + len(gdt), executable.pieces) + PAGE
    pieces = [*executable.pieces, piece(gdt_base, gdt, "GDT")]
    check_pieces(name, pieces, ram.size)
    store(ram, pieces)
    registers = {"esp": gdt_base}
    return flat_entry(
        "flat",
        executable.entry,
        code=CODE_SELECTOR,
        data=DATA_SELECTOR,
        gdt_base=gdt_base,
        gpr=registers,
        pieces=pieces,
    )
