"""Small raw guests for the command line to run, by `--flat`."""

from pathlib import Path

from guest_images.assembler import assemble

ADDRESS = 0x10_0000
FLAT = ("--flat", hex(ADDRESS))

ENDLESS = "here:\njmp here\n"
# IDTR is empty after reset's LIDT of nothing: #UD cannot be delivered, nor #DF
TRIPLE_FAULT = "lidt [limit]\nud2\nlimit:\n.word 0\n.long 0\n"
HALT = "cli\nhlt\n"
EXIT_WITH_21 = "mov eax, 21\nout 0xf4, al\n"
# Says it is ready, then sends back what arrives until that is a q, with which it leaves.
ECHO = """
    mov edx, 0x3fb
    mov al, 3               ; words of 8 bits
    out dx, al
    mov edx, 0x3f8
    mov al, '>'
    out dx, al
again:
    mov edx, 0x3fd
wait:
    in al, dx
    test al, 1
    jz wait
    mov edx, 0x3f8
    in al, dx
    out dx, al
    cmp al, 'q'
    jne again
    out 0xf4, al
"""


def write(path: Path, source: str) -> str:
    """Assemble `source` for ADDRESS into a file; its name."""
    path.write_bytes(assemble(source, 32, ADDRESS))
    return str(path)
