; The ways to raise an exception: code, and what comes of it at ring 0 and at ring 3 (vector, error code).

WAY_NAME = 0                            ; fields of a way
WAY_CODE = 4
WAY_DPL = 8                             ; or'ed to the type of the exception's gate
WAY_ABSENT = 12                         ; NO_FAULT or a vector whose gate is not present
WAY_VECTOR = 16                         ; expectations at ring 0; at ring 3, 8 bytes on
WAY_ERROR = 20
WAY_BYTES = 32
KERNEL_VECTOR = 0x42                    ; a gate of DPL 0
ABSENT_VECTOR = 0x43                    ; no gate
BEYOND_VECTOR = 0xF0                    ; beyond the limit of the IDT
NOWHERE = 0x04000000                    ; no page
KERNEL_PAGE = 0x00C00000                ; present, supervisor, read-only
DPL_3 = 0x60
IDT_ERROR = 2
EXTERNAL = 1

FAULT_DE = 0
FAULT_DB = 1
FAULT_BP = 3
FAULT_OF = 4
FAULT_BR = 5
FAULT_UD = 6
FAULT_NM = 7
FAULT_DF = 8
FAULT_TS = 10
FAULT_NP = 11
FAULT_SS = 12
FAULT_GP = 13
FAULT_PF = 14

.macro way text, code, dpl, absent, vector0, error0, vector3, error3
    .long name_\@, \code, \dpl, \absent, \vector0, \error0, \vector3, \error3
.section data
name_\@:
    .byte \text, 0
.section text
.endm

.align 4
ways:
    way "div by zero", do_divide, 0, NO_FAULT, FAULT_DE, 0, FAULT_DE, 0
    way "idiv overflow", do_overflow, 0, NO_FAULT, FAULT_DE, 0, FAULT_DE, 0
    way "aam 0", do_aam, 0, NO_FAULT, FAULT_DE, 0, FAULT_DE, 0
    way "single step", do_step, 0, NO_FAULT, FAULT_DB, 0, FAULT_DB, 0
    way "int3", do_int3, 0, NO_FAULT, FAULT_BP, 0, FAULT_GP, FAULT_BP * 8 + IDT_ERROR
    way "int3, gate for all", do_int3, DPL_3, NO_FAULT, FAULT_BP, 0, FAULT_BP, 0
    way "int 3", do_int_3, DPL_3, NO_FAULT, FAULT_BP, 0, FAULT_BP, 0
    way "into", do_into, 0, NO_FAULT, FAULT_OF, 0, FAULT_GP, FAULT_OF * 8 + IDT_ERROR
    way "into, gate for all", do_into, DPL_3, NO_FAULT, FAULT_OF, 0, FAULT_OF, 0
    way "bound", do_bound, 0, NO_FAULT, FAULT_BR, 0, FAULT_BR, 0
    way "ud2", do_ud2, 0, NO_FAULT, FAULT_UD, 0, FAULT_UD, 0
    way "lock nop", do_lock, 0, NO_FAULT, FAULT_UD, 0, FAULT_UD, 0
    way "mov cs", do_mov_cs, 0, NO_FAULT, FAULT_UD, 0, FAULT_UD, 0
    way "fninit, TS set", do_fninit, 0, NO_FAULT, FAULT_NM, 0, FAULT_NM, 0
    way "wait, TS and MP set", do_wait, 0, NO_FAULT, FAULT_NM, 0, FAULT_NM, 0
    way "#NP, no gate", do_load_absent, 0, FAULT_NP, FAULT_DF, 0, FAULT_DF, 0
    way "#GP, no gate", do_load_outside, 0, FAULT_GP, FAULT_DF, 0, FAULT_DF, 0
    way "#DE, no gate", do_divide, 0, FAULT_DE, FAULT_DF, 0, FAULT_DF, 0
    way "int3, no gate", do_int3, 0, FAULT_BP, FAULT_NP, FAULT_BP * 8 + IDT_ERROR, FAULT_GP, FAULT_BP * 8 + IDT_ERROR
    way "call of a small TSS", do_call_small, 0, NO_FAULT, FAULT_TS, SPARE_SELECTOR, FAULT_TS, SPARE_SELECTOR
    way "iret with NT, no link", do_iret_nested, 0, NO_FAULT, FAULT_TS, 0, FAULT_TS, 0
    way "mov ds, absent", do_load_absent, 0, NO_FAULT, FAULT_NP, ABSENT_SELECTOR, FAULT_NP, ABSENT_SELECTOR
    way "call of absent code", do_call_absent, 0, NO_FAULT, FAULT_GP, SPARE_2_SELECTOR, FAULT_NP, SPARE_2_SELECTOR
    way "int, empty gate", do_int_absent, 0, NO_FAULT, FAULT_GP, ABSENT_VECTOR * 8 + IDT_ERROR, FAULT_GP, ABSENT_VECTOR * 8 + IDT_ERROR
    way "mov ss, absent for ring 3", do_ss_absent, 0, NO_FAULT, FAULT_GP, ABSENT_SELECTOR, FAULT_SS, ABSENT_SELECTOR
    way "mov ss, absent for ring 0", do_ss_absent_0, 0, NO_FAULT, FAULT_SS, SPARE_3_SELECTOR, FAULT_GP, SPARE_3_SELECTOR
    way "mov ss, null", do_ss_null, 0, NO_FAULT, FAULT_GP, 0, FAULT_GP, 0
    way "mov ds, outside", do_load_outside, 0, NO_FAULT, FAULT_GP, OUTSIDE_SELECTOR, FAULT_GP, OUTSIDE_SELECTOR
    way "mov ds, kernel data", do_load_kernel, 0, NO_FAULT, NO_FAULT, 0, FAULT_GP, DATA_SELECTOR
    way "jmp null", do_jump_null, 0, NO_FAULT, FAULT_GP, 0, FAULT_GP, 0
    way "jmp data", do_jump_data, 0, NO_FAULT, FAULT_GP, DATA_SELECTOR, FAULT_GP, DATA_SELECTOR
    way "int, gate of ring 0", do_int_kernel, 0, NO_FAULT, NO_FAULT, 0, FAULT_GP, KERNEL_VECTOR * 8 + IDT_ERROR
    way "int, beyond the IDT", do_int_beyond, 0, NO_FAULT, FAULT_GP, BEYOND_VECTOR * 8 + IDT_ERROR, FAULT_GP, BEYOND_VECTOR * 8 + IDT_ERROR
    way "iret to ring 0", do_iret_inward, 0, NO_FAULT, NO_FAULT, 0, FAULT_GP, CODE_SELECTOR
    way "cli", do_cli, 0, NO_FAULT, NO_FAULT, 0, FAULT_GP, 0
    way "in", do_in, 0, NO_FAULT, NO_FAULT, 0, FAULT_GP, 0
    way "clts", do_clts, 0, NO_FAULT, NO_FAULT, 0, FAULT_GP, 0
    way "read, no page", do_read_nowhere, 0, NO_FAULT, FAULT_PF, 0, FAULT_PF, 4
    way "write, no page", do_write_nowhere, 0, NO_FAULT, FAULT_PF, 2, FAULT_PF, 6
    way "read of a kernel page", do_read_kernel, 0, NO_FAULT, NO_FAULT, 0, FAULT_PF, 5
    way "write to a kernel page", do_write_kernel, 0, NO_FAULT, NO_FAULT, 0, FAULT_PF, 7
    way "#PF, no gate", do_read_nowhere, 0, FAULT_PF, FAULT_DF, 0, FAULT_DF, 0
strict_ways:
    way "int1", do_int1, 0, NO_FAULT, FAULT_DB, 0, FAULT_DB, 0
    way "#UD, no gate", do_ud2, 0, FAULT_UD, FAULT_NP, FAULT_UD * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_UD * 8 + IDT_ERROR + EXTERNAL
    way "int1, no gate", do_int1, 0, FAULT_DB, FAULT_NP, FAULT_DB * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_DB * 8 + IDT_ERROR + EXTERNAL
    way "mov cr0, PG without PE", do_bad_cr0, 0, NO_FAULT, FAULT_GP, 0, FAULT_GP, 0
    way "mov cr4, reserved bits", do_bad_cr4, 0, NO_FAULT, FAULT_GP, 0, FAULT_GP, 0
    way "rdmsr, unknown", do_bad_msr, 0, NO_FAULT, FAULT_GP, 0, FAULT_GP, 0
ways_end:

do_divide:
    xor edx, edx
    xor ecx, ecx
    div ecx
do_overflow:
    mov eax, 0x80000000
    cdq
    or ecx, -1
    idiv ecx
do_aam:
    .byte 0xD4, 0
do_int1:
    .byte 0xF1
    int LEAVE_GATE
do_step:
    pushfd
    or dword [esp], 0x100
    popfd
    nop
    int LEAVE_GATE
do_int3:
    int3
    int LEAVE_GATE
do_int_3:
    .byte 0xCD, 3
    int LEAVE_GATE
do_into:
    mov al, 0x7F
    inc al
    into
    int LEAVE_GATE
do_bound:
    mov eax, 5
    bound eax, [bounds]
    int LEAVE_GATE
do_ud2:
    ud2
do_lock:
    .byte 0xF0, 0x90
do_mov_cs:
    .byte 0x8E, 0xC8
do_fninit:
    .byte 0xDB, 0xE3
do_wait:
    .byte 0x9B
do_load_absent:
    mov eax, ABSENT_SELECTOR + 3
    mov ds, eax
do_load_outside:
    mov eax, OUTSIDE_SELECTOR
    mov ds, eax
do_load_kernel:
    mov eax, DATA_SELECTOR
    mov ds, eax
    int LEAVE_GATE
do_call_small:
    lcall [to_small_task]
do_iret_nested:
    pushfd
    or dword [esp], FLAG_NT
    popfd
    iretd
do_call_absent:
    lcall [to_absent_code]
do_int_absent:
    int ABSENT_VECTOR
do_ss_absent:
    mov eax, ABSENT_SELECTOR + 3
    mov ebx, cs
    and ebx, 3
    jnz .load
    and eax, -4
.load:
    mov ss, eax
do_ss_absent_0:
    mov eax, SPARE_3_SELECTOR
    mov ss, eax
do_ss_null:
    xor eax, eax
    mov ss, eax
do_jump_null:
    ljmp [to_null]
do_jump_data:
    ljmp [to_data]
do_int_kernel:
    int KERNEL_VECTOR
do_int_beyond:
    int BEYOND_VECTOR
do_iret_inward:
    pushfd
    push CODE_SELECTOR
    push leave
    iretd
leave:
    int LEAVE_GATE
do_cli:
    cli
    int LEAVE_GATE
do_in:
    in al, 0x80
    int LEAVE_GATE
do_clts:
    clts
    int LEAVE_GATE
do_bad_cr0:
    mov eax, CR0_PG
    mov cr0, eax
do_bad_cr4:
    mov eax, -1
    mov cr4, eax
do_bad_msr:
    mov ecx, 0x12345678
    rdmsr
do_read_nowhere:
    mov eax, [NOWHERE]
do_write_nowhere:
    mov [NOWHERE], eax
do_read_kernel:
    mov eax, [KERNEL_PAGE]
    int LEAVE_GATE
do_write_kernel:
    mov [KERNEL_PAGE], eax
    int LEAVE_GATE

.section data
.align 4
bounds:
    .long 6, 9
to_small_task:
    .long 0, SPARE_SELECTOR
to_absent_code:
    .long 0, SPARE_2_SELECTOR + 3
to_null:
    .long 0, 0
to_data:
    .long 0, DATA_SELECTOR
.section text
