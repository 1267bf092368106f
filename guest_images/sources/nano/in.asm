; nano-in: reads port 80h, the POST code port, n times.
;
; result = reads counted, ops = n. What the port returns differs between chip sets and is not looked at.

default_n = 20000
POST_PORT = 0x80

.include "platform.asm"

guest_name:
    .byte "nano-in", 0

main:
    push ebx
    xor ebx, ebx
    mov ecx, eax
    mov edx, eax
    jmp .test
.next:
    in al, POST_PORT
    inc ebx
    dec ecx
.test:
    test ecx, ecx
    jnz .next
    mov eax, ebx
    pop ebx
    ret
