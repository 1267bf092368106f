; nano-cr3wr: writes CR3, paging on, n times: the privileged register write that stands for cr8wr in 32-bit mode.
;
; Two page directories with the same contents alternate, so no write can be recognised as a no-op.
; result = writes counted, ops = n. Self-check: CR3 reads back as last written.

default_n = 10000

.include "platform.asm"
.include "paging.asm"

guest_name:
    .byte "nano-cr3wr", 0

main:                                   ; esi = directory loaded next, edi = the other one
    push ebx
    push esi
    push edi
    mov ebx, eax
    call paging_init
    mov esi, page_directory
    mov edi, second_directory
    mov ecx, 1024
    rep movsd
    mov edi, page_directory
    mov esi, second_directory
    mov ecx, ebx
    xor eax, eax
    jmp .test
.next:
    mov cr3, esi
    xchg esi, edi
    inc eax
    dec ecx
.test:
    test ecx, ecx
    jnz .next
    mov ecx, cr3
    cmp ecx, edi
    jne exit_failed
    mov edx, ebx
    pop edi
    pop esi
    pop ebx
    ret

.section bss
.align 4096
second_directory:
    .space 4096
