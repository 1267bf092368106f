; IDT. Every exception goes to a stub that reports it and ends the guest, until set_gate puts a handler in its place.

.include "print.asm"

INTERRUPT_GATE = 0x8E                   ; present, DPL 0, 32-bit interrupt gate (SDM vol. 3A, 6.11)
TRAP_GATE = 0x8F
USER_INTERRUPT_GATE = 0xEE              ; DPL 3: INT n may use it from ring 3
EXCEPTIONS = 20                         ; vectors up to 19 mean something on this class of processor
STATUS_UNEXPECTED = 3

.section bss
.align 8
idt:
    .space 256 * 8
.section text

idt_register:
    .word 256 * 8 - 1
    .long idt

.macro exception_stub vector            ; 8 bytes each, so that addresses can be computed
    push \vector
    jmp near unexpected
    .align 8
.endm

.align 8
exception_stubs:
    exception_stub 0
    exception_stub 1
    exception_stub 2
    exception_stub 3
    exception_stub 4
    exception_stub 5
    exception_stub 6
    exception_stub 7
    exception_stub 8
    exception_stub 9
    exception_stub 10
    exception_stub 11
    exception_stub 12
    exception_stub 13
    exception_stub 14
    exception_stub 15
    exception_stub 16
    exception_stub 17
    exception_stub 18
    exception_stub 19

unexpected:                             ; vector, [error code], EIP, CS, EFLAGS on the stack
    print "unexpected exception "
    mov eax, [esp]
    call put_decimal
    print "\nstack:"
    mov ebx, 4
.word:
    mov eax, ' '
    call put_char
    mov eax, [esp + ebx]
    call put_hex
    add ebx, 4
    cmp ebx, 24
    jne .word
    call put_newline
    mov eax, STATUS_UNEXPECTED
    jmp exit

interrupts_init:
    push ebx
    xor ebx, ebx
.next:
    mov eax, ebx
    lea edx, [exception_stubs + ebx*8]
    mov ecx, INTERRUPT_GATE
    call set_gate
    inc ebx
    cmp ebx, EXCEPTIONS
    jne .next
    lidt [idt_register]
    pop ebx
    ret

set_gate:                               ; eax = vector, edx = handler, ecx = type and DPL
    mov [idt + eax*8], dx
    mov word [idt + eax*8 + 2], CODE_SELECTOR
    mov byte [idt + eax*8 + 4], 0
    mov [idt + eax*8 + 5], cl
    shr edx, 16
    mov [idt + eax*8 + 6], dx
    ret
