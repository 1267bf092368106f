; nano-callret: calls and returns (Adams and Agesen 2006, "callret"): n calls of an empty subroutine.
;
; result = calls counted by the subroutine's caller in ebx, ops = n.

default_n = 1000000

.include "platform.asm"

guest_name:
    .byte "nano-callret", 0

main:
    push ebx
    push esi
    mov esi, eax
    mov ecx, eax
    xor ebx, ebx
    jmp .test
.next:
    call empty
    inc ebx
    dec ecx
.test:
    test ecx, ecx
    jnz .next
    mov eax, ebx
    mov edx, esi
    pop esi
    pop ebx
    ret

.align 16
empty:
    ret
