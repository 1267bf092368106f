; What paging-matrix asks beside its permissions: execute disable, global pages.

execute_disable:                        ; CR0.WP is set
    mov dword [large], 0
    mov dword [no_execute], 0
    call set_nx
.place:
    call all_entries
    inc dword [no_execute]
    cmp dword [no_execute], IN_LEAF + IN_DIRECTORY
    jne .place
    mov dword [large], 1
    mov dword [no_execute], IN_LEAF
    call all_entries
    mov dword [large], 0
    cmp dword [reserved_too], 0         ; without EFER.NXE bit 63 is reserved
    je .done
    call set_nx
    call only_all_rights
    mov dword [no_execute], IN_DIRECTORY
    call only_all_rights
    mov dword [large], 1
    mov dword [no_execute], IN_LEAF
    call only_all_rights
.done:
    ret

only_all_rights:
    mov dword [upper], P + W + U
    mov dword [lower], P + W + U
    jmp reserved_line

set_nx:                                 ; toggle EFER.NXE
    mov ecx, EFER
    rdmsr
    xor eax, EFER_NXE
    wrmsr
    xor dword [nx_enabled], 1
    ret

global_pages:                           ; does a page mapped elsewhere show after CR3 was loaded?
    mov dword [large], 0
    mov dword [upper], P + W + U
    mov eax, cr4
    or eax, CR4_PGE
    mov cr4, eax
    mov dword [other_frame + 0x100], 0x2222
    mov dword [lower], P + W + U
    call .remap
    cmp eax, 0x2222
    jne .bad
    tell "cr3 shows other pages\n"
    mov dword [lower], P + W + U + G
    call .remap
    invlpg [LINEAR]
    mov eax, [LINEAR + 0x100]
    cmp eax, 0x2222
    jne .bad
    tell "invlpg shows a global page\n"
    call .remap
    mov eax, cr4
    and eax, 0xFFFFFF7F
    mov cr4, eax
    mov eax, [LINEAR + 0x100]
    cmp eax, 0x2222
    jne .bad
    tell "pge shows global pages\n"
    ret
.bad:
    mov al, 'g'
    call wrong
    mov al, 10
    jmp say
.remap:                                 ; read the page, map the other frame, load CR3, read again
    call set_entries
    mov dword [LINEAR + 0x100], 0x1111
    mov edi, [leaf]
    mov eax, [edi]
    and eax, 0xFFF
    or eax, other_frame
    mov [edi], eax
    mov eax, cr3
    mov cr3, eax
    mov eax, [LINEAR + 0x100]
    ret
