; A GDT with one descriptor of every interesting kind, the LDT, and the gates that INT n is tried on.

LDT_SELECTOR = 0x30
READ_ONLY_SELECTOR = 0x38 + 3
EXECUTE_ONLY_SELECTOR = 0x40 + 3
ABSENT_DATA_SELECTOR = 0x48 + 3
CONFORMING_SELECTOR = 0x50
ABSENT_CODE_SELECTOR = 0x58 + 3
SMALL_SELECTOR = 0x60 + 3
SMALL_LIMIT = 15
OUTSIDE_SELECTOR = 0x200 + 3            ; beyond the GDT's limit
GDT_LIMIT = all_kinds_end - all_kinds - 1
OTHER_GDT_LIMIT = GDT_LIMIT + 8
IDT_LIMIT = 0x90 * 8 - 1

USER_GATE = 0x80                        ; DPL 3
KERNEL_GATE = 0x42                      ; DPL 0
ABSENT_GATE = 0x43                      ; DPL 3, not present
OUTSIDE_GATE = 0xF0                     ; beyond the IDT's limit
LEAVE_GATE = 0x81                       ; ends a check, DPL 3
ABSENT_USER_INTERRUPT_GATE = 0x6E

.section data
.align 8
all_kinds:
    .long 0, 0
    .long 0x0000FFFF, 0x00CF9A00        ; 0x08: as in descriptors.asm
    .long 0x0000FFFF, 0x00CF9200
    .long 0x0000FFFF, 0x00CFFA00
    .long 0x0000FFFF, 0x00CFF200
    .word TSS_BYTES - 1, tss & 0xFFFF
    .byte tss >> 16 & 0xFF, 0x89, 0, tss >> 24
    .word 7, ldt & 0xFFFF               ; 0x30: LDT
    .byte ldt >> 16 & 0xFF, 0x82, 0, ldt >> 24
    .long 0x0000FFFF, 0x00CFF000        ; 0x38: data, read-only, DPL 3
    .long 0x0000FFFF, 0x00CFF800        ; 0x40: code, execute-only, DPL 3
    .long 0x0000FFFF, 0x00CF7200        ; 0x48: data, not present, DPL 3
    .long 0x0000FFFF, 0x00CF9E00        ; 0x50: code, conforming, readable, DPL 0
    .long 0x0000FFFF, 0x00CF7A00        ; 0x58: code, not present, DPL 3
    .long SMALL_LIMIT, 0x0040F200       ; 0x60: data, 16 bytes, DPL 3
all_kinds_end:
    .space 8                            ; room for OTHER_GDT_LIMIT
ldt:
    .long 0, 0
all_kinds_register:
    .word GDT_LIMIT
    .long all_kinds
other_gdt_register:
    .word OTHER_GDT_LIMIT
    .long all_kinds
short_idt_register:
    .word IDT_LIMIT
    .long idt
other_idt_register:
    .word IDT_LIMIT + 8
    .long idt
.section text

set_up:
    lgdt [all_kinds_register]
    mov eax, ring0_stack_top
    call tss_init
    call interrupts_init
    mov dword [exception_hook], fault_during_check
    mov al, 0xFF                        ; mask all lines of both 8259s: nothing is to interrupt a check
    out 0x21, al
    out 0xA1, al
    mov eax, USER_GATE
    mov edx, gate_entry
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov eax, KERNEL_GATE
    mov edx, gate_entry
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov eax, ABSENT_GATE
    mov edx, gate_entry
    mov ecx, ABSENT_USER_INTERRUPT_GATE
    call set_gate
    mov eax, LEAVE_GATE
    mov edx, leave_check
    mov ecx, USER_INTERRUPT_GATE
    jmp set_gate

restore_state:                          ; undo what privileged checks change
    lgdt [all_kinds_register]
    lidt [short_idt_register]
    mov eax, LDT_SELECTOR
    lldt ax
    mov eax, cr0
    or eax, CR0_TS
    mov cr0, eax
    xor eax, eax
    xor edx, edx
    mov ecx, IA32_SYSENTER_CS
    wrmsr
    ret

CR0_TS = 8
IA32_SYSENTER_CS = 0x174
