; qsort64: quicksort of 16,384 words of 64 bits, n times. result: h = h * 31 + a middle one. ops = words.

default_n = 4

.include "measure64.asm"

guest_name:
    .byte "qsort64", 0

WORDS = 16384

main:
    mov r12d, edi
    mov r13d, edi
    xor ebp, ebp
    mov r14, 88172645463325252
.pass:
    mov esi, buffer
    xor ecx, ecx
.fill:
    mov rax, r14
    shl rax, 13
    xor r14, rax
    mov rax, r14
    shr rax, 7
    xor r14, rax
    mov rax, r14
    shl rax, 17
    xor r14, rax
    mov rax, r14
    shr rax, 1
    mov [rsi + rcx * 8], rax
    inc ecx
    cmp ecx, WORDS
    jne .fill
    mov rdi, rsi
    lea rsi, [rsi + WORDS * 8 - 8]
    call sort
    mov esi, buffer
    imul rbp, rbp, 31
    add rbp, [rsi + 7777 * 8]
    dec r12d
    jnz .pass
    mov rax, rbp
    imul edx, r13d, WORDS
    ret

sort:                                   ; rdi = first, rsi = last; changes rax, rbx, rcx, rdx
    cmp rdi, rsi
    jae .sorted
    lea rax, [rdi + rsi]
    shr rax, 1
    and rax, -8
    mov rax, [rax]
    mov rcx, rdi
    mov rdx, rsi
.partition:
    cmp [rcx], rax
    jge .from_right
    add rcx, 8
    jmp .partition
.from_right:
    cmp [rdx], rax
    jle .exchange
    sub rdx, 8
    jmp .from_right
.exchange:
    cmp rcx, rdx
    ja .halves
    mov rbx, [rcx]
    mov r8, [rdx]
    mov [rdx], rbx
    mov [rcx], r8
    add rcx, 8
    sub rdx, 8
    cmp rcx, rdx
    jbe .partition
.halves:
    push rsi
    push rcx
    mov rsi, rdx
    call sort
    pop rdi
    pop rsi
    jmp sort
.sorted:
    ret

.section bss
.align 4096
buffer:
    .space 131072
.section text
