; fib-calls: naive recursive Fibonacci numbers, fib(20), n times over: calls, returns and stack frames.
;
; result: h = h * 31 + fib. ops = calls, counted in memory as a compiler would a global. Self-check: fib by iteration.

default_n = 5
ARGUMENT = 20

.include "platform.asm"

guest_name:
    .byte "fib-calls", 0

main:
    push ebp
    mov ebp, esp
    push ebx
    push esi
    push edi
    mov ebx, eax
    xor esi, esi
    mov dword [calls], 0
    xor eax, eax                        ; fib(0)
    mov edi, 1                          ; fib(1)
    mov ecx, ARGUMENT
.iterate:
    xchg eax, edi
    add edi, eax
    dec ecx
    jnz .iterate
    mov edi, eax                        ; edi = fib(ARGUMENT)
    jmp .test
.next:
    push ARGUMENT
    call fib
    add esp, 4
    cmp eax, edi
    jne exit_failed
    imul esi, esi, 31
    add esi, eax
    dec ebx
.test:
    test ebx, ebx
    jnz .next
    mov eax, esi
    mov edx, [calls]
    pop edi
    pop esi
    pop ebx
    pop ebp
    ret

fib:                                    ; (k) -> eax
    push ebp
    mov ebp, esp
    push ebx
    inc dword [calls]
    mov ebx, [ebp + 8]
    cmp ebx, 1
    jbe .small
    lea eax, [ebx - 1]
    push eax
    call fib
    add esp, 4
    sub ebx, 2
    push ebx
    mov ebx, eax
    call fib
    add esp, 4
    add eax, ebx
    pop ebx
    pop ebp
    ret
.small:
    mov eax, ebx
    pop ebx
    pop ebp
    ret

.section bss
calls:
    .space 4
