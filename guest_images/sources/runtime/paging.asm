; Two-level paging with 4 KiB pages: the first 16 MiB mapped to themselves, supervisor, writable.

PTE_PRESENT = 1
PTE_WRITABLE = 2
PTE_USER = 4
IDENTITY_TABLES = 4                     ; of 4 MiB each
CR0_PG = 0x80000000
CR0_WP = 0x10000

.section bss
.align 4096
page_directory:
    .space 4096
page_tables:                            ; the entry of address a is at page_tables + (a >> 12) * 4
    .space 4096 * IDENTITY_TABLES
.section text

paging_init:
    push edi
    mov edi, page_tables
    mov eax, PTE_PRESENT + PTE_WRITABLE
.entry:
    mov [edi], eax
    add edi, 4
    add eax, 4096
    cmp edi, page_tables + 4096 * IDENTITY_TABLES
    jne .entry
    mov eax, page_tables + PTE_PRESENT + PTE_WRITABLE + PTE_USER
    mov edi, page_directory
.table:
    mov [edi], eax
    add edi, 4
    add eax, 4096
    cmp edi, page_directory + 4 * IDENTITY_TABLES
    jne .table
    mov eax, page_directory
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    jmp .serialise                      ; the SDM wants a branch after setting PG (vol. 3A, 9.9)
.serialise:
    pop edi
    ret
