; matmul64: the product of two matrices of 64 by 64 words, n times, the one changed by it.
;
; result: sums of elements. ops = multiply-adds.

default_n = 20

.include "measure64.asm"

guest_name:
    .byte "matmul64", 0

SIDE = 64                               ; words in a row
BYTES = SIDE * SIDE * 8

main:
    mov esi, buffer
    xor ecx, ecx
.word:
    lea rax, [rcx + rcx * 2]
    mov [rsi + rcx * 8], rax
    lea rax, [rcx + rcx * 4 + 1]
    mov [rsi + rcx * 8 + BYTES], rax
    inc ecx
    cmp ecx, SIDE * SIDE
    jne .word
    mov r12d, edi
    xor r14d, r14d
    xor ebp, ebp
.pass:
    mov rbx, rsi                        ; row of the first
    lea r8, [rsi + 2 * BYTES]           ; where the element goes
.row:
    lea r9, [rsi + BYTES]               ; column of the second
.element:
    xor eax, eax
    mov rdx, r9
    xor ecx, ecx
.term:
    mov rdi, [rbx + rcx * 8]
    imul rdi, [rdx]
    add rax, rdi
    add rdx, SIDE * 8
    inc ecx
    cmp ecx, SIDE
    jne .term
    mov [r8], rax
    add r8, 8
    add r9, 8
    lea rcx, [rsi + BYTES + SIDE * 8]
    cmp r9, rcx
    jne .element
    add rbx, SIDE * 8
    lea rcx, [rsi + BYTES]
    cmp rbx, rcx
    jne .row
    mov ecx, r14d
    and ecx, SIDE * SIDE - 1
    add rbp, [rsi + rcx * 8 + 2 * BYTES]
    xor [rsi + rcx * 8], rbp
    inc r14d
    cmp r14d, r12d
    jne .pass
    mov rax, rbp
    mov edx, r12d
    shl rdx, 18
    ret

.section bss
.align 4096
buffer:
    .space 98304
.section text
