; icall64: indirect calls of four functions, 65,536 n times. result: what they make of 1. ops = calls.

default_n = 2

.include "measure64.asm"

guest_name:
    .byte "icall64", 0

main:
    mov esi, buffer
    mov eax, triple
    mov [rsi], rax
    mov eax, fold
    mov [rsi + 8], rax
    mov eax, increase
    mov [rsi + 16], rax
    mov eax, turn
    mov [rsi + 24], rax
    mov r12d, edi
    shl r12, 16
    mov rbp, r12
    mov edi, 1
.next:
    mov rax, rdi
    shr rax, 11
    and eax, 3
    call qword [rsi + rax * 8]
    mov rdi, rax
    dec rbp
    jnz .next
    mov rdx, r12
    ret

triple:
    lea rax, [rdi + rdi * 2 + 1]
    ret
fold:
    mov rax, rdi
    shr rax, 7
    xor rax, rdi
    ret
increase:
    lea rax, [rdi + 0x1234567]
    ret
turn:
    mov rax, rdi
    rol rax, 5
    ret

.section bss
.align 4096
buffer:
    .space 64
.section text
