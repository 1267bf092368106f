; bignum64: the product of two numbers of 64 words, n times, the one changed by it.
;
; result: a word of it. ops = multiplications.

default_n = 200

.include "measure64.asm"

guest_name:
    .byte "bignum64", 0

A = 0                                   ; bytes behind buffer
B = 512
PRODUCT = 1024

main:
    mov esi, buffer
    mov r8, 0x9E3779B97F4A7C15
    xor ecx, ecx
.word:
    mov rax, rcx
    imul rax, r8
    mov [rsi + rcx * 8 + A], rax
    not rax
    lea rax, [rax + rax * 2]
    mov [rsi + rcx * 8 + B], rax
    inc ecx
    cmp ecx, 64
    jne .word
    mov r12d, edi
    xor r14d, r14d
.pass:
    xor ecx, ecx
.clear:
    mov qword [rsi + rcx * 8 + PRODUCT], 0
    inc ecx
    cmp ecx, 128
    jne .clear
    xor ebx, ebx
.row:
    mov r9, [rsi + rbx * 8 + A]
    lea r8, [rsi + rbx * 8 + PRODUCT]
    xor ebp, ebp
    xor ecx, ecx
.column:
    mov rax, [rsi + rcx * 8 + B]
    mul r9
    add rax, [r8 + rcx * 8]
    adc rdx, 0
    add rax, rbp
    adc rdx, 0
    mov [r8 + rcx * 8], rax
    mov rbp, rdx
    inc ecx
    cmp ecx, 64
    jne .column
    mov [r8 + 512], rbp
    inc ebx
    cmp ebx, 64
    jne .row
    lea eax, [r14 * 8]
    sub eax, r14d
    and eax, 127
    mov rax, [rsi + rax * 8 + PRODUCT]
    mov ecx, r14d
    and ecx, 63
    xor [rsi + rcx * 8 + A], rax
    inc r14d
    cmp r14d, r12d
    jne .pass
    mov rax, [rsi + 77 * 8 + PRODUCT]
    mov edx, edi
    shl rdx, 12
    ret

.section bss
.align 4096
buffer:
    .space 2048
.section text
