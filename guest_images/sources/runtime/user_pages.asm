; The identity mapping of paging.asm, which comes first, for ring 3 as well.

share_with_ring_3:
    push edi
    mov edi, page_tables
.entry:
    or dword [edi], PTE_USER
    add edi, 4
    cmp edi, page_tables + 4096 * IDENTITY_TABLES
    jne .entry
    pop edi
    ret
