; Text output on top of the platform's put_char.

put_string:                             ; eax = zero-terminated text
    push esi
    mov esi, eax
.next:
    movzx eax, byte [esi]
    test eax, eax
    jz .done
    call put_char
    inc esi
    jmp .next
.done:
    pop esi
    ret

put_decimal:                            ; eax = unsigned number
    push ebx
    push esi
    sub esp, 12                         ; ten digits at most
    lea esi, [esp + 11]
    mov byte [esi], 0
    mov ebx, 10
.digit:
    xor edx, edx
    div ebx
    add edx, '0'
    dec esi
    mov [esi], dl
    test eax, eax
    jnz .digit
    mov eax, esi
    call put_string
    add esp, 12
    pop esi
    pop ebx
    ret

put_hex:                                ; eax = number, printed as eight hexadecimal digits
    push ebx
    push esi
    mov ebx, eax
    mov esi, 8
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

hex_digits:
    .byte "0123456789abcdef"

put_newline:
    mov eax, 10
    jmp put_char

.macro print text
    mov eax, .text_\@
    call put_string
    jmp .after_text_\@
.text_\@:
    .byte \text, 0
.after_text_\@:
.endm
