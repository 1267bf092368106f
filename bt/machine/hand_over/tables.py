"""Tables in memory as SeaBIOS leaves them: ACPI, SMBIOS, interrupt routing, multiprocessor.

All of F0000h-FFFFFh is reserved in memory maps: the tables are there, and writable.
"""

from __future__ import annotations

from collections.abc import Iterator

from bt.firmware import smbios
from bt.firmware.acpi import tables as acpi
from bt.firmware.mp_table import FLOATING_BYTES, configuration_table, floating_pointer
from bt.firmware.pir_table import pir_table
from bt.machine.board import Board
from bt.machine.firmware import hardware, smbios_facts
from bt.machine.hand_over.pci import InterruptLines

TABLES_AT, PARAGRAPH = 0xF0000, 16


def tables(board: Board, lines: InterruptLines) -> Iterator[tuple[int, bytes]]:
    """Address and contents of each table."""
    at = TABLES_AT

    def place(length: int, alignment: int = PARAGRAPH) -> int:
        nonlocal at
        start = -(-at // alignment) * alignment
        at = start + length
        return start

    known = hardware(board)
    linkable = acpi.acpi_tables(known)
    places = {name: place(len(data), linkable.alignment(name)) for name, data in linkable.files.items()}
    for name, data in linkable.placed(places).items():
        yield places[name], data
    facts = smbios_facts(board.config)
    about = smbios.structures(facts, with_bios=True)
    about_at = place(len(about))
    yield about_at, about
    yield place(smbios.ANCHOR_BYTES), smbios.anchor(about, about_at)
    pir = pir_table()
    yield place(len(pir)), pir
    if known.has_apics:
        mp = configuration_table(facts.signature, facts.features, lines)
        mp_at = place(len(mp))
        yield mp_at, mp
        yield place(FLOATING_BYTES), floating_pointer(mp_at)
