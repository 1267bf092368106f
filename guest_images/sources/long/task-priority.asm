; task-priority: CR8 and the local APIC's task priority are one register, and interrupts follow it at once.

.include "long_mode.asm"

APIC = 0xFEE00000
APIC_DIRECTORY_ENTRY = 0x1F7 * 8        ; of its page of 2 MiB, above 3 GiB
TASK_PRIORITY = 0x80
PROCESSOR_PRIORITY = 0xA0
END_OF_INTERRUPT = 0xB0
SPURIOUS_VECTOR = 0xF0
COMMAND = 0x300
TO_SELF = 0x40000
GATES = 256
LOW_VECTOR = 0x45
HIGH_VECTOR = 0x91

.macro say text, value
    mov eax, .name_\@
    call put_string
    mov rax, \value
    call put_hex
    call put_newline
    jmp .behind_\@
.name_\@:
    .byte \text, 0
.behind_\@:
.endm
.macro cr8_is_rax
    .byte 0x44, 0x0F, 0x22, 0xC0
.endm
.macro rax_is_cr8
    .byte 0x44, 0x0F, 0x20, 0xC0
.endm
.macro send vector
    mov dword [rbp + COMMAND], TO_SELF + \vector
    jmp .sent_\@                        ; QEMU looks at it between two translations
.sent_\@:
.endm

long_main:
    print "task-priority\n"
    mov rax, apic_directory + 3
    mov [pointer_table + 24], rax
    mov eax, APIC + 0x9B                ; not cached
    mov [apic_directory + APIC_DIRECTORY_ENTRY], rax
    mov ebp, APIC
    outb 0x21, 0xFF
    outb 0xA1, 0xFF
    call fill_table
    lidt [table_register]
    mov dword [rbp + SPURIOUS_VECTOR], 0x1FF

    ; one register
    mov eax, 9
    cr8_is_rax
    mov eax, [rbp + TASK_PRIORITY]
    mov [result], rax
    rax_is_cr8
    mov [result + 8], rax
    say "tpr of cr8=9: ", [result]
    say "cr8: ", [result + 8]
    mov dword [rbp + TASK_PRIORITY], 0x5A
    rax_is_cr8
    mov [result], rax
    cr8_is_rax                          ; the low four bits go
    mov eax, [rbp + TASK_PRIORITY]
    mov [result + 8], rax
    mov eax, [rbp + PROCESSOR_PRIORITY]
    mov [result + 16], rax
    say "cr8 of tpr=5a: ", [result]
    say "tpr of cr8=5: ", [result + 8]
    say "ppr: ", [result + 16]

    ; what CR8 holds back and lets through; r14: vectors taken, r15: rbx as the last one found it
    xor r14d, r14d
    xor r15d, r15d
    xor ebx, ebx
    mov eax, 8
    cr8_is_rax
    sti
    send LOW_VECTOR
    inc ebx
    send HIGH_VECTOR
    mov [result], r14
    say "taken at 8: ", [result]
    say "after: ", r15
    mov eax, 4
    cr8_is_rax                          ; its own class still holds it back
    inc ebx
    nop
    say "taken at 4: ", r14
    mov eax, 3
    mov ebx, 0x10
    cr8_is_rax
    inc ebx                             ; not before the interrupt
    nop
    say "taken at 3: ", r14
    say "after: ", r15
    mov ebx, 0x20
    mov eax, 15
    cr8_is_rax
    send HIGH_VECTOR
    cli
    xor eax, eax
    cr8_is_rax                          ; let through, but IF is clear
    inc ebx
    nop
    say "taken without if: ", r14
    mov ebx, 0x30
    sti
    inc ebx                             ; in the shadow of STI
    inc ebx
    say "taken with if: ", r14
    say "after: ", r15

    ; rounds, so that the code gets hot
    mov r12d, 5000
    xor r13d, r13d
.round:
    mov eax, 5
    cr8_is_rax
    send LOW_VECTOR
    xor ebx, ebx
    xor eax, eax
    cr8_is_rax
    inc ebx
    add r13, r15
    rax_is_cr8
    add r13, rax
    dec r12d
    jnz .round
    say "late interrupts: ", r13
    cli
    ret

taken_low:
    push rax
    mov eax, LOW_VECTOR
    jmp taken
taken_high:
    push rax
    mov eax, HIGH_VECTOR
taken:
    shl r14, 8
    or r14, rax
    mov r15, rbx
    mov dword [rbp + END_OF_INTERRUPT], 0
    pop rax
    iretq

fill_table:
    mov rdi, table
    mov ecx, GATES
.gate:
    mov qword [rdi], 0
    mov qword [rdi + 8], 0
    add rdi, 16
    dec ecx
    jnz .gate
    mov rax, taken_low
    mov rdi, table + LOW_VECTOR * 16
    call .fill
    mov rax, taken_high
    mov rdi, table + HIGH_VECTOR * 16
.fill:
    mov [rdi], ax
    mov word [rdi + 2], CODE_64
    mov word [rdi + 4], 0x8E00
    shr rax, 16
    mov [rdi + 6], ax
    ret

.section data
.align 8
table_register:
    .word GATES * 16 - 1
    .long table, 0

.section bss
.align 4096
apic_directory:
    .space 4096
table:
    .space 4096
result:
    .space 24
