; fib64: the 22nd Fibonacci number by recursion, n times. result: the sum. ops = calls.

default_n = 20

.include "measure64.asm"

guest_name:
    .byte "fib64", 0

main:
    xor ebp, ebp
    xor r12d, r12d
    mov r13d, edi
.pass:
    mov edi, 22
    call fibonacci
    add rbp, rax
    dec r13d
    jnz .pass
    mov rax, rbp
    mov rdx, r12
    ret

fibonacci:
    inc r12
    cmp rdi, 2
    jb .small
    push rbx
    push rdi
    dec rdi
    call fibonacci
    mov rbx, rax
    pop rdi
    sub rdi, 2
    call fibonacci
    add rax, rbx
    pop rbx
    ret
.small:
    mov rax, rdi
    ret
