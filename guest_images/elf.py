"""Writes an assembled program as an ELF executable: one loadable segment, a symbol table, perhaps a note.

Layout and constants are those of the System V ABI, Intel386 and AMD64 supplements. The bytes depend on the program
alone, so images are reproducible. Symbols are kept for debuggers and `bt explain`.
"""

from struct import Struct
from typing import Final, NamedTuple

from guest_images.assembler import PAGE, Program


class ElfClass(NamedTuple):
    """Structures of one class. Segments and symbols are given in ELF32's order of fields; this one's is `*_order`."""

    number: int
    machine: int
    header: Struct
    segment: Struct
    section: Struct
    symbol: Struct
    segment_order: tuple[int, ...] = tuple(range(8))
    symbol_order: tuple[int, ...] = tuple(range(6))

    def pack_segment(self, fields: tuple[int, ...]) -> bytes:
        return self.segment.pack(*(fields[place] for place in self.segment_order))

    def pack_symbol(self, fields: tuple[int, ...]) -> bytes:
        return self.symbol.pack(*(fields[place] for place in self.symbol_order))


EM_386, EM_X86_64 = 3, 62
ELF32: Final = ElfClass(1, EM_386, Struct("<16sHHIIIIIHHHHHH"), Struct("<8I"), Struct("<10I"), Struct("<IIIBBH"))
ELF64: Final = ElfClass(
    2,
    EM_X86_64,
    Struct("<16sHHIQQQIHHHHHH"),
    Struct("<IIQQQQQQ"),
    Struct("<IIQQQQIIQQ"),
    Struct("<IBBHQQ"),
    segment_order=(0, 6, 1, 2, 3, 4, 5, 7),
    symbol_order=(0, 3, 4, 5, 1, 2),
)
ET_EXEC, EV_CURRENT = 2, 1
PT_LOAD, PT_NOTE, PF_RWX, PF_R = 1, 4, 7, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB = 1, 2, 3
SHF_WRITE_ALLOC_EXECUTE = 7
SHN_ABS = 0xFFF1
SECTION_NAMES: Final = b"\0.image\0.symtab\0.strtab\0.shstrtab\0"


def write_elf(program: Program, entry: str, elf: ElfClass = ELF32) -> bytes:
    """ELF executable with `program` at its origin as one read-write-execute segment, started at label `entry`.

    Labels `elf_note` and `elf_note_end` around an ELF note make it known to loaders.
    """
    # Offset and address must agree modulo the page size, so the image starts on the file's second page.
    strings, symbols = _symbol_table(program, elf)
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
        (name(b".symtab"), SHT_SYMTAB, 0, 0, symbol_offset, len(symbols), 3, 1, 4, elf.symbol.size),
        (name(b".strtab"), SHT_STRTAB, 0, 0, string_offset, len(strings), 0, 0, 1, 0),
        (name(b".shstrtab"), SHT_STRTAB, 0, 0, names_offset, len(SECTION_NAMES), 0, 0, 1, 0),
    ]
    identification = b"\x7fELF" + bytes([elf.number, 1, EV_CURRENT]) + bytes(9)
    segments = [
        (PT_LOAD, PAGE, program.origin, program.origin, len(program.image), program.end - program.origin, PF_RWX, PAGE)
    ]
    if (note := program.symbols.get("elf_note")) is not None:
        size = program.symbols["elf_note_end"] - note
        segments.append((PT_NOTE, PAGE + note - program.origin, note, note, size, size, PF_R, 4))
    sizes = (elf.header.size, elf.segment.size, len(segments), elf.section.size, len(sections), len(sections) - 1)
    start = program.symbols[entry]
    head = elf.header.pack(
        identification, ET_EXEC, elf.machine, EV_CURRENT, start, elf.header.size, header_offset, 0, *sizes
    ) + b"".join(elf.pack_segment(segment) for segment in segments)
    body = head.ljust(PAGE, b"\0") + program.image
    body = body.ljust(symbol_offset, b"\0") + symbols + strings + SECTION_NAMES
    return body.ljust(header_offset, b"\0") + b"".join(elf.section.pack(*section) for section in sections)


def _symbol_table(program: Program, elf: ElfClass) -> tuple[bytes, bytes]:
    """String table and symbol table of the labels inside the program; constants stay out."""
    strings, symbols = bytearray(b"\0"), bytearray(elf.symbol.size)
    for label, address in sorted(program.symbols.items(), key=lambda item: (item[1], item[0])):
        if program.origin <= address <= program.end:
            section = 1 if address < program.origin + len(program.image) else SHN_ABS
            symbols += elf.pack_symbol((len(strings), address, 0, 0, 0, section))
            strings += label.encode("ascii") + b"\0"
    return bytes(strings), bytes(symbols)
