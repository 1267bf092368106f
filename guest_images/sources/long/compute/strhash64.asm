; strhash64: the hash h * 33 ^ c of words of 40 bytes, about 65,000 bytes n times.
;
; result: the sum. ops = words.

default_n = 16

.include "measure64.asm"

guest_name:
    .byte "strhash64", 0

main:
    mov esi, buffer
    xor ecx, ecx
.byte:
    imul eax, ecx, 31
    mov edx, ecx
    shr edx, 5
    add eax, edx
    or eax, 1
    mov [rsi + rcx], al
    inc ecx
    cmp ecx, 65536
    jne .byte
    mov ecx, 40
.end:
    mov byte [rsi + rcx], 0
    add ecx, 41
    cmp ecx, 65536
    jb .end
    xor r9d, r9d
    xor r8d, r8d
.pass:
    mov rbx, rsi
    lea r12, [rsi + 65000]
.word:
    mov eax, 5381
    jmp .test
.character:
    mov edx, eax
    shl edx, 5
    add eax, edx
    xor eax, ecx
.test:
    movzx ecx, byte [rbx]
    inc rbx
    test ecx, ecx
    jnz .character
    add r8, rax
    inc r9
    cmp rbx, r12
    jb .word
    dec edi
    jnz .pass
    mov rax, r8
    mov rdx, r9
    ret

.section bss
.align 4096
buffer:
    .space 65536
.section text
