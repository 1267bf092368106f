"""The 64 KiB of the built-in BIOS at F0000h: code that asks the VMM, fonts, tables.

What is at fixed addresses, and where, is from the IBM PC/AT Technical Reference (BIOS listing), so that who looks there
finds it. The code is few instructions: a service is done while an IN from `ASK_PORT` is under way, which answers with
what the code does next.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from bt.firmware.builtin.video.glyphs import font

SEGMENT, ROM_BASE, ROM_BYTES = 0xF000, 0xF0000, 0x10000
ASK_PORT, POST_PORT = 0xE4, 0xE5

# what an IN from ASK_PORT answers
DONE, AGAIN, HALT = range(3)  # return; let interrupts in and ask once more; the same after an interrupt
# and one from POST_PORT
BOOT, RESUME = range(2)  # INT 19h; go where 0040:0067 says

TABLES_END = 0x8000  # below are ACPI, SMBIOS and MP tables (bt/machine/hand_over)
FONT_16, FONT_14, FONT_8_UPPER = 0x8000, 0x9000, 0x9E00
OEM_NAME = 0xA200
ENTRIES, CODE = 0xA300, 0xB000
DISKETTE_PARAMETERS, CONFIGURATION, FONT_8 = 0xEFC7, 0xE6F5, 0xFA6E
POST_ENTRY, IRET, RESET_VECTOR, DATE, MODEL = 0xE05B, 0xFF53, 0xFFF0, 0xFFF5, 0xFFFE

TIMER, KEYBOARD, KEY = 0x08, 0x09, 0x109  # KEY: the keyboard's interrupt has read a scan code into AL
# interrupts that the VMM serves, and those two, which have code of their own in front
SERVED = (0x00, 0x05, 0x06, 0x07, *range(0x0A, 0x1B), 0x40, 0x42, *range(0x70, 0x78))

MODEL_AT = 0xFC
# 82077 and 3.5" drives: step rate and head times, DMA; motor off after 37 ticks; 512 bytes; 18 sectors; gaps; fill byte
DISKETTE_TABLE = bytes.fromhex("af 02 25 02 12 1b ff 6c f6 0f 08")
# length, model, submodel, revision; second 8259, RTC, keyboard intercept, EBDA; INT 16h AH=09h
CONFIGURATION_TABLE = bytes.fromhex("0800 fc 00 01 74 40 00 00 00")

# bytes, with >label a distance of 8 bits and >>label of 16; what capstone calls them is what the test asks
PROGRAM = """
common:
    66 60               ; pushal
    1e                  ; pushw %ds
    06                  ; pushw %es
ask:
    e4 e4               ; inb $0xe4, %al
    84 c0               ; testb %al, %al
    74 >done            ; je
    fe c8               ; decb %al
    74 >again           ; je
    fb                  ; sti
    f4                  ; hlt
    fa                  ; cli
    eb >ask             ; jmp
again:
    fb                  ; sti
    90                  ; nop
    fa                  ; cli
    eb >ask             ; jmp
done:
    07                  ; popw %es
    1f                  ; popw %ds
    66 61               ; popal
    83 c4 02            ; addw $2, %sp
    cf                  ; iret

timer:
    66 60               ; pushal
    1e                  ; pushw %ds
    06                  ; pushw %es
    31 c0               ; xorw %ax, %ax
    8e d8               ; movw %ax, %ds
    66 ff 06 6c 04      ; incl 0x46c
    66 81 3e 6c 04 b0 00 18 00  ; cmpl $0x1800b0, 0x46c
    72 >same_day        ; jb
    66 a3 6c 04         ; movl %eax, 0x46c
    fe 06 70 04         ; incb 0x470
same_day:
    38 06 40 04         ; cmpb %al, 0x440
    74 >motors          ; je
    fe 0e 40 04         ; decb 0x440
    75 >motors          ; jne
    80 26 3f 04 f0      ; andb $0xf0, 0x43f
    ba f2 03            ; movw $0x3f2, %dx
    b0 0c               ; movb $0xc, %al
    ee                  ; outb %al, %dx
motors:
    cd 1c               ; int $0x1c
    fa                  ; cli
    b0 20               ; movb $0x20, %al
    e6 20               ; outb %al, $0x20
    07                  ; popw %es
    1f                  ; popw %ds
    66 61               ; popal
    cf                  ; iret

keyboard:
    66 60               ; pushal
    1e                  ; pushw %ds
    06                  ; pushw %es
    e4 60               ; inb $0x60, %al
    b4 4f               ; movb $0x4f, %ah
    f9                  ; stc
    cd 15               ; int $0x15
    fa                  ; cli
    73 >end_of_interrupt  ; jae
    9c                  ; pushfw
    0e                  ; pushw %cs
    e8 >>key            ; callw
    3c 05               ; cmpb $5, %al
    75 >no_print        ; jne
    cd 05               ; int $5
    eb >end_of_key      ; jmp
no_print:
    3c 1b               ; cmpb $0x1b, %al
    75 >end_of_key      ; jne
    cd 1b               ; int $0x1b
    eb >end_of_key      ; jmp
end_of_interrupt:
    b0 20               ; movb $0x20, %al
    e6 20               ; outb %al, $0x20
end_of_key:
    07                  ; popw %es
    1f                  ; popw %ds
    66 61               ; popal
    cf                  ; iret
key:
    68 09 01            ; pushw $0x109
    e9 >>common         ; jmp

post:
    fa                  ; cli
    fc                  ; cld
    e4 e5               ; inb $0xe5, %al
    31 db               ; xorw %bx, %bx
    8e db               ; movw %bx, %ds
    84 c0               ; testb %al, %al
    75 >resume          ; jne
    8e c3               ; movw %bx, %es
    8e d3               ; movw %bx, %ss
    bc 00 7c            ; movw $0x7c00, %sp
    fb                  ; sti
    cd 19               ; int $0x19
resume:
    ff 2e 67 04         ; ljmp *0x467
"""


def code() -> Iterable[tuple[bytes, str]]:
    """The program's instructions, distances filled in, each with what it is."""
    return _assembled()[0]


@cache
def labels() -> dict[str, int]:
    """Offsets in the segment."""
    return _assembled()[1]


def asks_at() -> int:
    """Where the processor is while it asks."""
    return labels()["ask"]


def entry_of(vector: int) -> int:
    """The offset that an interrupt's vector leads to."""
    if vector in (TIMER, KEYBOARD):
        return labels()["timer" if vector == TIMER else "keyboard"]
    return ENTRIES + 6 * SERVED.index(vector) if vector in SERVED else IRET


def _assembled() -> tuple[list[tuple[bytes, str]], dict[str, int]]:
    lines = [line for line in PROGRAM.splitlines() if line]
    places: dict[str, int] = {}
    for final in (False, True):
        at = CODE
        made: list[tuple[bytes, str]] = []
        for line in lines:
            if line.endswith(":"):
                places[line[:-1]] = at
                continue
            text, _, what = line.partition(";")
            coded = bytearray()
            for word in text.split():
                width = len(word) - len(word.lstrip(">"))
                if width:
                    distance = places[word[width:]] - (at + len(coded) + width) if final else 0
                    coded += distance.to_bytes(width, "little", signed=True)
                else:
                    coded.append(int(word, 16))
            at += len(coded)
            made.append((bytes(coded), what.strip()))
    return made, places


@cache
def image() -> bytes:
    """The ROM, without what bt/machine/hand_over puts at its beginning."""
    rom = bytearray(ROM_BYTES)

    def put(at: int, data: bytes) -> None:
        assert not any(rom[at : at + len(data)]), f"two things at {at:#x}"
        rom[at : at + len(data)] = data

    short = font(8)
    put(FONT_16, font(16))
    put(FONT_14, font(14))
    put(FONT_8, short[:1024])
    put(FONT_8_UPPER, short[1024:])
    put(OEM_NAME, b"bt VGA\0")
    put(CODE, b"".join(coded for coded, _ in code()))
    common = labels()["common"]
    for index, vector in enumerate(SERVED):
        at = ENTRIES + 6 * index
        distance = common - (at + 6)
        put(at, b"\x68" + vector.to_bytes(2, "little") + b"\xe9" + (distance & 0xFFFF).to_bytes(2, "little"))
    post = labels()["post"] - (POST_ENTRY + 3) & 0xFFFF
    put(POST_ENTRY, b"\xe9" + post.to_bytes(2, "little"))
    put(CONFIGURATION, CONFIGURATION_TABLE)
    put(DISKETTE_PARAMETERS, DISKETTE_TABLE)
    put(IRET, b"\xcf")
    put(RESET_VECTOR, b"\xea" + POST_ENTRY.to_bytes(2, "little") + SEGMENT.to_bytes(2, "little"))
    put(DATE, b"11/25/26")
    put(MODEL, bytes((MODEL_AT,)))
    return bytes(rom)
