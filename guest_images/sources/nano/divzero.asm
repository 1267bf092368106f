; nano-divzero: divides by zero, n times: #DE, the handler steps over the DIV, IRET.
;
; result = exceptions counted by the handler, ops = n. Self-check: they agree, and DIV left its operands alone.

default_n = 10000
DIVIDE_ERROR = 0
DIV_BYTES = 2                           ; length of `div ecx`

.include "platform.asm"
.include "interrupts.asm"

guest_name:
    .byte "nano-divzero", 0

main:
    push ebx
    push esi
    mov ebx, eax
    call interrupts_init
    mov eax, DIVIDE_ERROR
    mov edx, divide_error_entry
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov dword [faults], 0
    mov esi, ebx
    xor ecx, ecx
    xor edx, edx
    mov eax, 1234
    jmp .test
.next:
    div ecx
    dec esi
.test:
    test esi, esi
    jnz .next
    cmp eax, 1234
    jne exit_failed
    mov eax, [faults]
    cmp eax, ebx
    jne exit_failed
    mov edx, ebx
    pop esi
    pop ebx
    ret

divide_error_entry:
    add dword [esp], DIV_BYTES
    inc dword [faults]
    iretd

.section bss
faults:
    .space 4
