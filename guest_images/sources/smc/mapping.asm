; Code and page tables: the same frame under two addresses, and one address over two frames.

ALIAS = 0xC00000                        ; virtual pages we map at will
ALIAS_ENTRY = page_tables + (ALIAS >> 12) * 4
OPCODE_MOV_EAX = 0xB8
OPCODE_RET = 0xC3

second_mapping:                         ; executed where it was loaded, changed through the alias
    push ebx
    push esi
    push edi
    mov edi, eax
    mov dword [ALIAS_ENTRY], aliased_page + PTE_PRESENT + PTE_WRITABLE
    invlpg [ALIAS]
    xor esi, esi
.pass:
    mov [ALIAS + 1], edi
    xor eax, eax
    cpuid                               ; serialise: clobbers ebx, ecx, edx
    call aliased_page
    cmp eax, edi
    jne .wrong
    inc esi
.wrong:
    dec edi
    jnz .pass
    mov eax, esi
    pop edi
    pop esi
    pop ebx
    ret

remapped_page:                          ; one address, two frames with different code in turn; no code is written
    push ebx
    push esi
    push edi
    mov edi, eax
    mov eax, 1
    mov edx, first_frame
    call write_constant_function
    mov eax, 2
    mov edx, second_frame
    call write_constant_function
    xor esi, esi
.pass:
    mov eax, edi
    and eax, 1
    lea ebx, [eax + 1]                  ; what the function must return
    shl eax, 12
    lea eax, [eax + first_frame + PTE_PRESENT + PTE_WRITABLE]
    mov [ALIAS_ENTRY], eax
    invlpg [ALIAS]
    mov eax, ALIAS
    call eax
    cmp eax, ebx
    jne .wrong
    inc esi
.wrong:
    dec edi
    jnz .pass
    mov eax, esi
    pop edi
    pop esi
    pop ebx
    ret

write_constant_function:                ; eax = constant, edx = where
    mov byte [edx], OPCODE_MOV_EAX
    mov [edx + 1], eax
    mov byte [edx + 5], OPCODE_RET
    ret

.align 4096
aliased_page:
    mov eax, 0
    ret
.section bss
.align 4096
first_frame:
    .space 4096
second_frame:                           ; follows first_frame: remapped_page computes with it
    .space 4096
.section text
