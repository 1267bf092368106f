"""Writes an assembled program as a 32-bit ELF executable: one loadable segment, a symbol table, perhaps a note.

Layout and constants are those of the System V ABI, Intel386 supplement. The bytes depend on the program alone, so
images are reproducible. Symbols are kept for debuggers and `bt explain`.
"""

import struct
from typing import Final

from guest_images.assembler import PAGE, Program

ELF_HEADER: Final = struct.Struct("<16sHHIIIIIHHHHHH")
PROGRAM_HEADER: Final = struct.Struct("<8I")
SECTION_HEADER: Final = struct.Struct("<10I")
SYMBOL: Final = struct.Struct("<IIIBBH")
ET_EXEC, EM_386, EV_CURRENT = 2, 3, 1
PT_LOAD, PT_NOTE, PF_RWX, PF_R = 1, 4, 7, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB = 1, 2, 3
SHF_WRITE_ALLOC_EXECUTE = 7
SHN_ABS = 0xFFF1
SECTION_NAMES: Final = b"\0.image\0.symtab\0.strtab\0.shstrtab\0"


def write_elf(program: Program, entry: str) -> bytes:
    """ELF32 executable with `program` at its origin as one read-write-execute segment, started at label `entry`.

    Labels `elf_note` and `elf_note_end` around an ELF note make it known to loaders.
    """
    # Offset and address must agree modulo the page size, so the image starts on the file's second page.
    strings, symbols = _symbol_table(program)
    symbol_offset = PAGE + -(-len(program.image) // 4) * 4
    string_offset = symbol_offset + len(symbols)
    names_offset = string_offset + len(strings)
    header_offset = -(-(names_offset + len(SECTION_NAMES)) // 4) * 4

    def name(text: bytes) -> int:
        return SECTION_NAMES.index(b"\0" + text + b"\0") + 1

    sections = [
        (0,) * 10,
        (
            name(b".image"),
            SHT_PROGBITS,
            SHF_WRITE_ALLOC_EXECUTE,
            program.origin,
            PAGE,
            len(program.image),
            0,
            0,
            PAGE,
            0,
        ),
        (name(b".symtab"), SHT_SYMTAB, 0, 0, symbol_offset, len(symbols), 3, 1, 4, SYMBOL.size),
        (name(b".strtab"), SHT_STRTAB, 0, 0, string_offset, len(strings), 0, 0, 1, 0),
        (name(b".shstrtab"), SHT_STRTAB, 0, 0, names_offset, len(SECTION_NAMES), 0, 0, 1, 0),
    ]
    identification = b"\x7fELF" + bytes([1, 1, EV_CURRENT]) + bytes(9)
    segments = [
        (PT_LOAD, PAGE, program.origin, program.origin, len(program.image), program.end - program.origin, PF_RWX, PAGE)
    ]
    if (note := program.symbols.get("elf_note")) is not None:
        size = program.symbols["elf_note_end"] - note
        segments.append((PT_NOTE, PAGE + note - program.origin, note, note, size, size, PF_R, 4))
    sizes = (ELF_HEADER.size, PROGRAM_HEADER.size, len(segments), SECTION_HEADER.size, len(sections), len(sections) - 1)
    start = program.symbols[entry]
    head = ELF_HEADER.pack(
        identification, ET_EXEC, EM_386, EV_CURRENT, start, ELF_HEADER.size, header_offset, 0, *sizes
    ) + b"".join(PROGRAM_HEADER.pack(*segment) for segment in segments)
    body = head.ljust(PAGE, b"\0") + program.image
    body = body.ljust(symbol_offset, b"\0") + symbols + strings + SECTION_NAMES
    return body.ljust(header_offset, b"\0") + b"".join(SECTION_HEADER.pack(*section) for section in sections)


def _symbol_table(program: Program) -> tuple[bytes, bytes]:
    """String table and symbol table of the labels inside the program; constants stay out."""
    strings, symbols = bytearray(b"\0"), bytearray(SYMBOL.size)
    for label, address in sorted(program.symbols.items(), key=lambda item: (item[1], item[0])):
        if program.origin <= address <= program.end:
            section = 1 if address < program.origin + len(program.image) else SHN_ABS
            symbols += SYMBOL.pack(len(strings), address, 0, 0, 0, section)
            strings += label.encode("ascii") + b"\0"
    return bytes(strings), bytes(symbols)
