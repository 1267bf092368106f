; hello64-elf64: hello64 as a 64-bit ELF file for multiboot 2, which starts it in 32-bit mode like any other.

MULTIBOOT_2_MAGIC = 0xE85250D6
HEADER_BYTES = header_end - header

.align 8
header:
    .long MULTIBOOT_2_MAGIC, 0, HEADER_BYTES, 0x100000000 - MULTIBOOT_2_MAGIC - HEADER_BYTES
    .word 0, 0
    .long 8
header_end:

.include "hello64.asm"
