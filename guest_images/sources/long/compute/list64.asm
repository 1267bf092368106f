; list64: a list of 4,096 nodes in shuffled order, gone through n times.
;
; result: the sum of its values. ops = nodes.

default_n = 100

.include "measure64.asm"

guest_name:
    .byte "list64", 0

main:
    mov esi, buffer
    xor ecx, ecx
.node:
    imul eax, ecx, 1657
    inc eax
    and eax, 4095
    shl rax, 4
    add rax, rsi
    mov rdx, rcx
    shl rdx, 4
    mov [rsi + rdx], rax
    mov [rsi + rdx + 8], rcx
    inc ecx
    cmp ecx, 4096
    jne .node
    mov ecx, edi
    shl rcx, 12
    mov rdx, rcx
    xor eax, eax
.next:
    add rax, [rsi + 8]
    mov rsi, [rsi]
    dec rcx
    jnz .next
    ret

.section bss
.align 4096
buffer:
    .space 65536
.section text
