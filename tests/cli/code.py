"""Small raw guests for the command line to run, by `--flat`."""

from pathlib import Path

from guest_images.assembler import assemble

ADDRESS = 0x10_0000
FLAT = ("--flat", hex(ADDRESS))

READY = ">"
SAY_READY = f"mov edx, 0x3f8\nmov al, {ord(READY)}\nout dx, al\n"
ENDLESS = "here:\njmp here\n"
# IDTR is empty after reset's LIDT of nothing: #UD cannot be delivered, nor #DF
TRIPLE_FAULT = "lidt [limit]\nud2\nlimit:\n.word 0\n.long 0\n"
RESET = "mov al, 1\nout 0x92, al\nhere:\njmp here\n"
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

# At CPL 3 with alignment checks on, the handler of #AC is at CPL 3 too, and the stack for its frame is misaligned.
ENDLESS_DELIVERY = """
    lgdt [gdt_register]
    lidt [idt_register]
    mov eax, cr0
    or eax, 0x40000         ; AM
    mov cr0, eax
    push 0x23
    push 0x8001
    push 0x40002            ; AC
    push 0x1b
    push user
    iretd
user:
    push eax
gdt_register:
    .word 39
    .long gdt
idt_register:
    .word 0x8f
    .long gdt + 40
.align 8
gdt:
    .long 0, 0
    .long 0xffff, 0xcf9b00
    .long 0xffff, 0xcf9300
    .long 0xffff, 0xcffb00  ; 1b
    .long 0xffff, 0xcff300  ; 23
    .space 136              ; the IDT up to #AC
    .word user - 0x100000, 0x1b, 0xee00, 0x10
"""


def write(path: Path, source: str) -> str:
    """Assemble `source` for ADDRESS into a file; its name."""
    path.write_bytes(assemble(source, 32, ADDRESS))
    return str(path)
