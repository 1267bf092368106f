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

; The stubs give every exception the same frame: vector, error code (0 if the processor pushes none), EIP, CS, EFLAGS...
STUB_BYTES = 16

.macro exception vector
    .align STUB_BYTES
    push 0
    push \vector
    jmp near exception_common
.endm

.macro exception_with_code vector
    .align STUB_BYTES
    push \vector
    jmp near exception_common
.endm

.align STUB_BYTES
exception_stubs:
    exception 0
    exception 1
    exception 2
    exception 3
    exception 4
    exception 5
    exception 6
    exception 7
    exception_with_code 8
    exception 9
    exception_with_code 10
    exception_with_code 11
    exception_with_code 12
    exception_with_code 13
    exception_with_code 14
    exception 15
    exception 16
    exception_with_code 17
    exception 18
    exception 19

exception_common:
    jmp dword [exception_hook]

.section data
exception_hook:                         ; where exceptions without a gate of their own go
    .long unexpected
.section text

unexpected:
    print "unexpected exception "
    mov eax, [esp]
    call put_decimal
    print "\nerror code, EIP, CS, EFLAGS:"
    mov ebx, 4
.word:
    mov eax, ' '
    call put_char
    mov eax, [esp + ebx]
    call put_hex
    add ebx, 4
    cmp ebx, 20
    jne .word
    call put_newline
    mov eax, STATUS_UNEXPECTED
    jmp exit

interrupts_init:
    push ebx
    xor ebx, ebx
.next:
    mov eax, ebx
    mov edx, ebx
    shl edx, 4                          ; times STUB_BYTES
    add edx, exception_stubs
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
