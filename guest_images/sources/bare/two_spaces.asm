; Two address spaces in ring 3: the same but for `buffer`, which has frames of its own in each.

PASS_VECTOR = 0x80
LEAVE_VECTOR = 0x81                     ; brings the guest back to ring 0 for good

.macro other_space
    int PASS_VECTOR
.endm

.macro leave_spaces
    int LEAVE_VECTOR
.endm

.include "interrupts.asm"
.include "paging.asm"

run_in_two_spaces:                      ; eax = what to run in ring 3; it ends with leave_spaces
    pushad
    mov [saved_stack], esp
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
    call share_with_ring_3
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
    mov esi, buffer
    mov edi, second_buffer
    mov ecx, BUFFER_BYTES / 4
    rep movsd
    mov eax, [saved_stack]
    mov eax, [eax + 28]                 ; as pushad left it
    jmp enter_ring_3

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
    ret

.include "user_pages.asm"
.include "ring3.asm"

.section bss
.align 4096
second_buffer:
    .space BUFFER_BYTES
second_directory:
    .space 4096
second_tables:
    .space 4096 * IDENTITY_TABLES
saved_stack:
    .space 4
.section text
