; nano-ptemod: changes a page table entry, INVLPG, reads through it, n times.
;
; The page is mapped to two frames in turn. result = sum of the words read, ops = n. Self-check: the sum.

default_n = 20000
WINDOW = 0xC00000
WINDOW_ENTRY = page_tables + (WINDOW >> 12) * 4
EVEN_MARK = 3
ODD_MARK = 5

.include "platform.asm"
.include "paging.asm"

guest_name:
    .byte "nano-ptemod", 0

main:                                   ; esi, edi = entries for the two frames, next one first
    push ebx
    push esi
    push edi
    mov ebx, eax
    call paging_init
    mov dword [even_frame], EVEN_MARK
    mov dword [odd_frame], ODD_MARK
    mov esi, even_frame + PTE_PRESENT + PTE_WRITABLE
    mov edi, odd_frame + PTE_PRESENT + PTE_WRITABLE
    xor eax, eax
    mov ecx, ebx
    jmp .test
.next:
    mov [WINDOW_ENTRY], esi
    invlpg [WINDOW]
    add eax, [WINDOW]
    xchg esi, edi
    dec ecx
.test:
    test ecx, ecx
    jnz .next
    mov ecx, ebx                        ; n / 2 pairs, and one even read more if n is odd
    shr ecx, 1
    imul edx, ecx, EVEN_MARK + ODD_MARK
    test ebx, 1
    jz .compare
    add edx, EVEN_MARK
.compare:
    cmp eax, edx
    jne exit_failed
    mov edx, ebx
    pop edi
    pop esi
    pop ebx
    ret

.section bss
.align 4096
even_frame:
    .space 4096
odd_frame:
    .space 4096
