; processes: CRC-32 by table in ring 3, paging on, in two address spaces by turns: each does a pass, n in all.
;
; What an operating system makes of a compute loop. Both have their buffer at the same linear address and in frames of
; their own; the kernel only loads the other's CR3 when a pass is over. result: the sum of both CRCs.
; ops = bytes. Self-check: the buffers hold the same bytes, so after an even number of passes the CRCs are the same.

default_n = 16
BUFFER_BYTES = 0x10000
PASS_VECTOR = 0x80
LEAVE_VECTOR = 0x81                     ; brings the guest back to ring 0 for good

.include "platform.asm"
.include "interrupts.asm"
.include "paging.asm"

guest_name:
    .byte "processes", 0

main:
    pushad
    mov [saved_stack], esp
    mov dword [crc], 0
    mov dword [crc + 4], 0
    mov ebx, eax
    call interrupts_init
    mov eax, ring0_stack_top
    call tss_init
    mov eax, PASS_VECTOR
    mov edx, pass_entry
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov eax, LEAVE_VECTOR
    mov edx, leave_entry
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    call paging_init
    mov edi, page_tables                ; everything is there for ring 3 too
.user:
    or dword [edi], PTE_USER
    add edi, 4
    cmp edi, page_tables + 4096 * IDENTITY_TABLES
    jne .user
    mov esi, page_directory             ; the second space: the same, but for the buffer
    mov edi, second_directory
    mov ecx, 1024
    rep movsd
    mov esi, page_tables
    mov edi, second_tables
    mov ecx, 1024 * IDENTITY_TABLES
    rep movsd
    mov eax, second_tables + PTE_PRESENT + PTE_WRITABLE + PTE_USER
    mov edi, second_directory
.table:
    mov [edi], eax
    add edi, 4
    add eax, 4096
    cmp edi, second_directory + 4 * IDENTITY_TABLES
    jne .table
    mov eax, second_buffer + PTE_PRESENT + PTE_WRITABLE + PTE_USER
    mov edi, buffer
    shr edi, 10
    and edi, 0xFFFFFFFC
    add edi, second_tables
    mov ecx, BUFFER_BYTES / 4096
.frame:
    mov [edi], eax
    add edi, 4
    add eax, 4096
    dec ecx
    jnz .frame
    mov eax, page_directory
    mov cr3, eax
    call make_table
    mov edi, buffer
    call fill_buffer
    mov edi, second_buffer
    call fill_buffer
    mov eax, USER_DATA_SELECTOR
    mov ds, eax
    mov es, eax
    push USER_DATA_SELECTOR
    push user_stack_top
    pushfd
    push USER_CODE_SELECTOR
    push user
    iretd

pass_entry:                             ; to the other address space
    push eax
    mov eax, cr3
    xor eax, page_directory
    jz .second
    mov eax, page_directory
    mov cr3, eax
    pop eax
    iretd
.second:
    mov eax, second_directory
    mov cr3, eax
    pop eax
    iretd

leave_entry:
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov esp, [saved_stack]
    popad
    mov edx, eax                        ; main was called with eax = n
    mov eax, [crc]
    test edx, 1
    jnz .odd
    cmp eax, [crc + 4]
    jne exit_failed
.odd:
    add eax, [crc + 4]
    shl edx, 16
    ret

user:                                   ; ring 3 from here; ebx = passes left
    xor esi, esi                        ; of whose turn it is
    test ebx, ebx
    jz .over
.pass:
    mov eax, [crc + esi*4]
    call crc_of_buffer
    mov [crc + esi*4], eax
    xor esi, 1
    int PASS_VECTOR
    dec ebx
    jnz .pass
.over:
    int LEAVE_VECTOR

crc_of_buffer:                          ; eax: crc so far -> eax
    push ebx
    mov edi, buffer
    not eax
.byte:
    movzx edx, byte [edi]
    movzx ebx, al
    inc edi
    shr eax, 8
    xor edx, ebx
    xor eax, [table + edx*4]
    cmp edi, buffer + BUFFER_BYTES
    jb .byte
    not eax
    mov [buffer + BUFFER_BYTES - 4], eax
    pop ebx
    ret

.include "crc_table.asm"

fill_buffer:                            ; edi: where; the upper bytes of a linear congruential generator
    mov eax, 1
    xor ecx, ecx
.byte:
    imul eax, eax, 1664525
    add eax, 1013904223
    mov edx, eax
    shr edx, 24
    mov [edi + ecx], dl
    inc ecx
    cmp ecx, BUFFER_BYTES
    jne .byte
    ret

.section bss
.align 4096
buffer:
    .space BUFFER_BYTES
second_buffer:
    .space BUFFER_BYTES
second_directory:
    .space 4096
second_tables:
    .space 4096 * IDENTITY_TABLES
table:
    .space 1024
crc:
    .space 8
saved_stack:
    .space 4
.align 16
    .space 4096
ring0_stack_top:
    .space 4096
user_stack_top:
    .space 16
