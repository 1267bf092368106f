; Ring 3: the identity mapping is its as well, and it has a stack. Behind interrupts.asm and paging.asm.

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

enter_ring_3:                           ; eax = where; does not return
    mov ecx, USER_DATA_SELECTOR
    mov ds, ecx
    mov es, ecx
    push USER_DATA_SELECTOR
    push user_stack_top
    pushfd
    push USER_CODE_SELECTOR
    push eax
    iretd

.section bss
.align 16
    .space 4096
ring0_stack_top:
    .space 4096
user_stack_top:
    .space 16
.section text
