; sieve64: the sieve of Eratosthenes over 524,288 bytes, n times.
;
; result: t = t * 31 + each prime. ops = bytes.

default_n = 2

.include "measure64.asm"

guest_name:
    .byte "sieve64", 0

SIZE = 524288

main:
    mov r8d, edi
    xor eax, eax
    mov r9d, 31
    mov esi, buffer
.pass:
    xor ecx, ecx
.fill:
    mov byte [rsi + rcx], 1
    inc rcx
    cmp rcx, SIZE
    jne .fill
    mov ebx, 2
.candidate:
    mov rcx, rbx
    imul rcx, rbx
    cmp rcx, SIZE
    jae .count
    cmp byte [rsi + rbx], 0
    je .no_prime
.strike:
    mov byte [rsi + rcx], 0
    add rcx, rbx
    cmp rcx, SIZE
    jb .strike
.no_prime:
    inc rbx
    jmp .candidate
.count:
    mov ebx, 2
.sum:
    cmp byte [rsi + rbx], 0
    je .composite
    imul rax, r9
    add rax, rbx
.composite:
    inc rbx
    cmp rbx, SIZE
    jne .sum
    dec r8d
    jnz .pass
    mov edx, edi
    shl rdx, 19
    ret

.section bss
.align 4096
buffer:
    .space 524288
.section text
