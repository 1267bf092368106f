; sha64: the rounds of SHA-256 over a schedule that they change, n times 64.
;
; result: two of its words. ops = rounds.

default_n = 2000

.include "measure64.asm"

guest_name:
    .byte "sha64", 0

main:
    mov r15d, edi
    mov esi, buffer
    xor ecx, ecx
.word:
    imul eax, ecx, 0x9E3779B1
    mov [rsi + rcx * 4], eax
    inc ecx
    cmp ecx, 64
    jne .word
    push rdi
    mov eax, 1                          ; a to h: eax ebx ecx edx r8d r9d r10d r11d
    mov ebx, 2
    mov ecx, 3
    mov edx, 4
    mov r8d, 5
    mov r9d, 6
    mov r10d, 7
    mov r11d, 8
.pass:
    xor edi, edi
.round:
    mov ebp, r8d
    ror ebp, 6
    mov r12d, r8d
    ror r12d, 11
    xor ebp, r12d
    ror r12d, 14
    xor ebp, r12d
    add r11d, ebp
    mov ebp, r9d
    xor ebp, r10d
    and ebp, r8d
    xor ebp, r10d
    add r11d, ebp
    add r11d, [rsi + rdi * 4]
    mov ebp, eax
    ror ebp, 2
    mov r12d, eax
    ror r12d, 13
    xor ebp, r12d
    ror r12d, 9
    xor ebp, r12d
    mov r12d, eax
    or r12d, ebx
    and r12d, ecx
    mov r13d, eax
    and r13d, ebx
    or r12d, r13d
    add ebp, r12d
    add ebp, r11d
    add r11d, edx
    mov edx, ecx
    mov ecx, ebx
    mov ebx, eax
    mov eax, ebp
    mov ebp, r11d
    mov r11d, r10d
    mov r10d, r9d
    mov r9d, r8d
    mov r8d, ebp
    add [rsi + rdi * 4], eax
    inc edi
    cmp edi, 64
    jne .round
    dec r15d
    jnz .pass
    shl rax, 32
    or rax, r8
    pop rdx
    shl rdx, 6
    ret

.section bss
.align 4096
buffer:
    .space 256
.section text
