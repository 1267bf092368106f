; interp64: an interpreter of eight bytecodes by a chain of comparisons, 4,096 n times.
;
; result: its registers. ops = bytecodes.

default_n = 100

.include "measure64.asm"

guest_name:
    .byte "interp64", 0

main:
    mov esi, buffer
    mov rbx, 99
    mov r8, 6364136223846793005
    xor ecx, ecx
.byte:
    imul rbx, r8
    inc rbx
    mov rax, rbx
    shr rax, 33
    and eax, 7
    mov [rsi + rcx], al
    inc ecx
    cmp ecx, 4096
    jne .byte
    mov r12d, edi
    mov eax, 1                          ; a, b, c: rax rbx rbp
    mov ebx, 2
    mov ebp, 3
.pass:
    xor ecx, ecx
.next:
    movzx edx, byte [rsi + rcx]
    inc ecx
    cmp edx, 3
    ja .upper
    je .three
    cmp edx, 1
    je .one
    ja .two
    add rax, rbx
    jmp .done
.one:
    xor rbx, rbp
    jmp .done
.two:
    mov r8, rax
    shr r8, 3
    add rbp, r8
    jmp .done
.three:
    lea rax, [rax + rax * 4 + 1]
    jmp .done
.upper:
    cmp edx, 5
    ja .last
    je .five
    rol rbx, 7
    jmp .done
.five:
    sub rbp, rbx
    jmp .done
.last:
    cmp edx, 6
    jne .seven
    lea r8, [rbp + rbp]
    xor rax, r8
    jmp .done
.seven:
    mov r8, rax
    and r8, rbp
    add rbx, r8
.done:
    cmp ecx, 4096
    jne .next
    dec r12d
    jnz .pass
    xor rax, rbx
    xor rax, rbp
    mov edx, edi
    shl rdx, 12
    ret

.section bss
.align 4096
buffer:
    .space 4096
.section text
