; COM1 by polling, and text output on top of it, for 64-bit code.

COM1 = 0x3F8
LSR_THRE = 0x20                         ; transmitter holding register empty

.macro outb port, value
    mov edx, \port
    mov al, \value
    out dx, al
.endm

serial_init:
    outb COM1 + 1, 0                    ; we poll
    outb COM1 + 3, 0x80                 ; DLAB
    outb COM1, 1                        ; divisor 1: 115200 baud
    outb COM1 + 1, 0
    outb COM1 + 3, 3                    ; 8N1
    outb COM1 + 2, 7
    outb COM1 + 4, 3
    ret

put_char:                               ; al = character
    mov ecx, eax
    mov edx, COM1 + 5
.wait:
    in al, dx
    test al, LSR_THRE
    jz .wait
    mov eax, ecx
    mov edx, COM1
    out dx, al
    ret

put_string:                             ; rax = zero-terminated text
    push rsi
    mov rsi, rax
.next:
    movzx eax, byte [rsi]
    test eax, eax
    jz .done
    call put_char
    inc rsi
    jmp .next
.done:
    pop rsi
    ret

put_hex:                                ; rax = number, printed as sixteen hexadecimal digits
    push rbx
    push rsi
    mov rbx, rax
    mov esi, 16
.digit:
    rol rbx, 4
    mov eax, ebx
    and eax, 15
    movzx eax, byte [rax + hex_digits]
    call put_char
    dec esi
    jnz .digit
    pop rsi
    pop rbx
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
