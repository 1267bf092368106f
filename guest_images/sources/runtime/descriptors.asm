; The GDT of all our guests, and the TSS for stack switches. The order is what SYSENTER and SYSEXIT demand: kernel code,
; kernel data, user code, user data (SDM vol. 2B, SYSENTER).

CODE_SELECTOR = 0x08
DATA_SELECTOR = 0x10
USER_CODE_SELECTOR = 0x18 + 3
USER_DATA_SELECTOR = 0x20 + 3
TSS_SELECTOR = 0x28
TSS_BYTES = 104
TSS_ESP0 = 4                            ; offsets in the 32-bit TSS (SDM vol. 3A, 7.2.1)
TSS_SS0 = 8
TSS_IO_MAP_BASE = 102

.align 8
gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00CF9A00        ; 0x08: code, base 0, limit 4 GiB, DPL 0
    .long 0x0000FFFF, 0x00CF9200        ; 0x10: data, DPL 0
    .long 0x0000FFFF, 0x00CFFA00        ; 0x18: code, DPL 3
    .long 0x0000FFFF, 0x00CFF200        ; 0x20: data, DPL 3
    .word TSS_BYTES - 1, tss & 0xFFFF   ; 0x28: available 32-bit TSS
    .byte tss >> 16 & 0xFF, 0x89, 0, tss >> 24
gdt_end:
gdt_register:
    .word gdt_end - gdt - 1
    .long gdt

.section bss
.align 16
tss:
    .space TSS_BYTES
.section text

tss_init:                               ; eax = kernel stack for entries from ring 3
    mov [tss + TSS_ESP0], eax
    mov dword [tss + TSS_SS0], DATA_SELECTOR
    mov word [tss + TSS_IO_MAP_BASE], TSS_BYTES     ; beyond the limit: no I/O permission map
    mov eax, TSS_SELECTOR
    ltr ax
    ret
