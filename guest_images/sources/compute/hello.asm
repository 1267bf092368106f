; hello: the smallest guest: n greetings over the serial port; the result is the sum of the characters sent.

default_n = 1

.include "platform.asm"

guest_name:
    .byte "hello", 0
greeting:
    .byte "Hello, world\n", 0

main:
    push ebx
    push esi
    push edi
    mov ebx, eax                        ; greetings left
    mov esi, eax
    xor edi, edi
.greet:
    test ebx, ebx
    jz .done
    mov eax, greeting
    call put_string
    mov ecx, greeting
.sum:
    movzx eax, byte [ecx]
    add edi, eax
    inc ecx
    test eax, eax
    jnz .sum
    dec ebx
    jmp .greet
.done:
    mov eax, edi
    mov edx, esi
    pop edi
    pop esi
    pop ebx
    ret
