; Text output of 16-bit numbers, on top of print.asm.

.include "print.asm"

put_word:                               ; eax = number, printed as four hexadecimal digits
    push ebx
    push esi
    mov ebx, eax
    shl ebx, 16
    mov esi, 4
.digit:
    rol ebx, 4
    mov eax, ebx
    and eax, 15
    movzx eax, byte [hex_digits + eax]
    call put_char
    dec esi
    jnz .digit
    pop esi
    pop ebx
    ret
