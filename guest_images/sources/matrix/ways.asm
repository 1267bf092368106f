; The ways to raise an exception: code, what is prepared for it, and what comes of it at ring 0 and at ring 3 (vector, error
; code; for #DB the bits of DR6).

WAY_NAME = 0                            ; fields of a way
WAY_CODE = 4
WAY_SETUP = 8                           ; called before
WAY_DPL = 12                            ; or'ed to the type of the exception's gate
WAY_ABSENT = 16                         ; NO_FAULT or a vector whose gate is not present
WAY_VECTOR = 20                         ; expectations at ring 0; at ring 3, 8 bytes on
WAY_ERROR = 24
WAY_BYTES = 36
KERNEL_VECTOR = 0x42                    ; a gate of DPL 0
ABSENT_VECTOR = 0x43                    ; no gate
INNER_VECTOR = 0x44                     ; a gate for all to ring 2, or where a way's setup says
BEYOND_VECTOR = 0xF0                    ; beyond the limit of the IDT
NOWHERE = 0x04000000                    ; no page
KERNEL_PAGE = 0x00C00000                ; present, supervisor, read-only
PORT = 0x80
DPL_3 = 0x60
IDT_ERROR = 2
EXTERNAL = 1
FLAG_AC = 0x40000
STEPPED = 0x4000                        ; bits of DR6
DETECTED = 0x2000

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
FAULT_MF = 16
FAULT_AC = 17
FAULT_XM = 19

.macro full_way text, code, setup, dpl, absent, vector0, error0, vector3, error3
    .long name_\@, \code, \setup, \dpl, \absent, \vector0, \error0, \vector3, \error3
.section data
name_\@:
    .byte \text, 0
.section text
.endm

.macro way text, code, vector0, error0, vector3, error3
    full_way \text, \code, no_setup, 0, NO_FAULT, \vector0, \error0, \vector3, \error3
.endm

.macro prepared text, code, setup, vector0, error0, vector3, error3
    full_way \text, \code, \setup, 0, NO_FAULT, \vector0, \error0, \vector3, \error3
.endm

.macro missing text, code, absent, vector0, error0, vector3, error3
    full_way \text, \code, no_setup, 0, \absent, \vector0, \error0, \vector3, \error3
.endm

.macro for_all text, code, vector
    full_way \text, \code, no_setup, DPL_3, NO_FAULT, \vector, 0, \vector, 0
.endm

.macro kernel text, code
    full_way \text, \code, no_setup, 0, NO_FAULT, NO_FAULT, 0, FAULT_GP, 0
.endm

.align 4
ways:
    way "div by zero", do_divide, FAULT_DE, 0, FAULT_DE, 0
    way "idiv overflow", do_overflow, FAULT_DE, 0, FAULT_DE, 0
    way "aam 0", do_aam, FAULT_DE, 0, FAULT_DE, 0
    way "single step", do_step, FAULT_DB, STEPPED, FAULT_DB, STEPPED
    way "single step, mov ss", do_step_stack, FAULT_DB, STEPPED, FAULT_DB, STEPPED
    way "int3", do_int3, FAULT_BP, 0, FAULT_GP, FAULT_BP * 8 + IDT_ERROR
    for_all "int3, gate for all", do_int3, FAULT_BP
    for_all "int 3", do_int_3, FAULT_BP
    way "into", do_into, FAULT_OF, 0, FAULT_GP, FAULT_OF * 8 + IDT_ERROR
    for_all "into, gate for all", do_into, FAULT_OF
    way "bound", do_bound, FAULT_BR, 0, FAULT_BR, 0
    way "ud2", do_ud2, FAULT_UD, 0, FAULT_UD, 0
    way "lock nop", do_lock, FAULT_UD, 0, FAULT_UD, 0
    way "mov cs", do_mov_cs, FAULT_UD, 0, FAULT_UD, 0
    prepared "fninit, TS set", do_fninit, fpu_switched, FAULT_NM, 0, FAULT_NM, 0
    prepared "wait, TS and MP set", do_wait, fpu_switched, FAULT_NM, 0, FAULT_NM, 0
    missing "#NP, no gate", do_load_absent, FAULT_NP, FAULT_DF, 0, FAULT_DF, 0
    missing "#GP, no gate", do_load_outside, FAULT_GP, FAULT_DF, 0, FAULT_DF, 0
    missing "#DE, no gate", do_divide, FAULT_DE, FAULT_DF, 0, FAULT_DF, 0
    missing "int3, no gate", do_int3, FAULT_BP, FAULT_NP, FAULT_BP * 8 + IDT_ERROR, FAULT_GP, FAULT_BP * 8 + IDT_ERROR
    prepared "call of a small TSS", do_call_small, small_task, FAULT_TS, SPARE_SELECTOR, FAULT_TS, SPARE_SELECTOR
    way "iret with NT, no link", do_iret_nested, FAULT_TS, 0, FAULT_TS, 0
    way "mov ds, absent", do_load_absent, FAULT_NP, ABSENT_SELECTOR, FAULT_NP, ABSENT_SELECTOR
    prepared "call of absent code", do_call_absent, absent_code, FAULT_GP, SPARE_2_SELECTOR, FAULT_NP, SPARE_2_SELECTOR
    way "int, empty gate", do_int_absent, FAULT_GP, ABSENT_VECTOR * 8 + IDT_ERROR, FAULT_GP, ABSENT_VECTOR * 8 + IDT_ERROR
    way "mov ss, absent for ring 3", do_ss_absent, FAULT_GP, ABSENT_SELECTOR, FAULT_SS, ABSENT_SELECTOR
    prepared "mov ss, absent for ring 0", do_ss_absent_0, absent_stack, FAULT_SS, SPARE_3_SELECTOR, FAULT_GP, SPARE_3_SELECTOR
    way "mov ss, null", do_ss_null, FAULT_GP, 0, FAULT_GP, 0
    way "mov ds, outside", do_load_outside, FAULT_GP, OUTSIDE_SELECTOR, FAULT_GP, OUTSIDE_SELECTOR
    way "mov ds, kernel data", do_load_kernel, NO_FAULT, 0, FAULT_GP, DATA_SELECTOR
    way "jmp null", do_jump_null, FAULT_GP, 0, FAULT_GP, 0
    way "jmp data", do_jump_data, FAULT_GP, DATA_SELECTOR, FAULT_GP, DATA_SELECTOR
    way "int, gate of ring 0", do_int_kernel, NO_FAULT, 0, FAULT_GP, KERNEL_VECTOR * 8 + IDT_ERROR
    way "int, beyond the IDT", do_int_beyond, FAULT_GP, BEYOND_VECTOR * 8 + IDT_ERROR, FAULT_GP, BEYOND_VECTOR * 8 + IDT_ERROR
    way "iret to ring 0", do_iret_inward, NO_FAULT, 0, FAULT_GP, CODE_SELECTOR
    kernel "cli", do_cli
    kernel "in", do_in
    kernel "clts", do_clts
    way "read, no page", do_read_nowhere, FAULT_PF, 0, FAULT_PF, 4
    way "write, no page", do_write_nowhere, FAULT_PF, 2, FAULT_PF, 6
    way "read of a kernel page", do_read_kernel, NO_FAULT, 0, FAULT_PF, 5
    way "write to a kernel page", do_write_kernel, NO_FAULT, 0, FAULT_PF, 7
    missing "#PF, no gate", do_read_nowhere, FAULT_PF, FAULT_DF, 0, FAULT_DF, 0
    way "16 bytes", do_too_long, FAULT_GP, 0, FAULT_GP, 0
    kernel "mov from cr0", do_read_cr0
    kernel "mov from dr7", do_read_dr7
    kernel "mov to dr6", do_write_dr6
    kernel "lmsw", do_lmsw
    kernel "invlpg", do_invlpg
    kernel "wbinvd", do_wbinvd
    kernel "sti", do_sti
    prepared "rdtsc, TSD set", do_rdtsc, no_time, NO_FAULT, 0, FAULT_GP, 0
    way "sysenter without CS", do_sysenter, FAULT_GP, 0, FAULT_GP, 0
    prepared "pxor mm, TS set", do_pxor, fpu_switched, FAULT_NM, 0, FAULT_NM, 0
    prepared "pxor mm, EM set", do_pxor, fpu_emulated, FAULT_UD, 0, FAULT_UD, 0
    prepared "fninit, EM set", do_fninit, fpu_emulated, FAULT_NM, 0, FAULT_NM, 0
    prepared "movaps, EM set", do_movaps, fpu_emulated, FAULT_UD, 0, FAULT_UD, 0
    prepared "movaps, OSFXSR clear", do_movaps, no_sse, FAULT_UD, 0, FAULT_UD, 0
    way "wait, division by zero", do_wait_for_error, FAULT_MF, 0, FAULT_MF, 0
    prepared "data breakpoint", do_write_watched, watch_data, FAULT_DB, 1, FAULT_DB, 1
    prepared "data breakpoint, read", do_read_watched, watch_data, NO_FAULT, 0, NO_FAULT, 0
    prepared "instruction breakpoint", do_breakpoint, watch_code, FAULT_DB, 2, FAULT_DB, 2
    prepared "port breakpoint", do_in, watch_port, FAULT_DB, 4, FAULT_GP, 0
    prepared "breakpoint on a descriptor", do_load_watched, watch_descriptor, FAULT_DB, 8, FAULT_DB, 8
    way "int to ring 2", do_int_inner, FAULT_GP, RING_2_CODE_SELECTOR, NO_FAULT, 0
    prepared "int to ring 2, SS2 null", do_int_inner, null_stack, FAULT_GP, RING_2_CODE_SELECTOR, FAULT_TS, 0
    prepared "int to ring 2, SS2 of ring 0", do_int_inner, kernel_stack, FAULT_GP, RING_2_CODE_SELECTOR, FAULT_TS, DATA_SELECTOR
    prepared "int to ring 2, SS2 is code", do_int_inner, code_stack, FAULT_GP, RING_2_CODE_SELECTOR, FAULT_TS, RING_2_CODE_SELECTOR
    prepared "int to ring 2, SS2 outside", do_int_inner, outside_stack, FAULT_GP, RING_2_CODE_SELECTOR, FAULT_TS, OUTSIDE_SELECTOR
    prepared "int to absent code", do_int_inner, to_absent, FAULT_NP, SPARE_2_SELECTOR, FAULT_NP, SPARE_2_SELECTOR
    prepared "int to data", do_int_inner, to_data, FAULT_GP, DATA_SELECTOR, FAULT_GP, DATA_SELECTOR
    prepared "int to null", do_int_inner, to_null, FAULT_GP, 0, FAULT_GP, 0
    prepared "int, absent gate", do_int_inner, gate_absent, FAULT_NP, INNER_VECTOR * 8 + IDT_ERROR, FAULT_NP, INNER_VECTOR * 8 + IDT_ERROR
    prepared "int, task gate to a busy task", do_int_inner, to_busy_task, FAULT_GP, TSS_SELECTOR, FAULT_GP, TSS_SELECTOR
    prepared "call gate to ring 2", do_call_inner, call_gate, FAULT_GP, RING_2_CODE_SELECTOR, NO_FAULT, 0
    prepared "call gate to ring 2, SS2 null", do_call_inner, call_gate_null_stack, FAULT_GP, RING_2_CODE_SELECTOR, FAULT_TS, 0
    prepared "call gate, absent", do_call_inner, call_gate_absent, FAULT_NP, SPARE_SELECTOR, FAULT_NP, SPARE_SELECTOR
    prepared "retf to ring 0", do_far_return_inward, no_setup, NO_FAULT, 0, FAULT_GP, CODE_SELECTOR
    full_way "#TS, no gate", do_iret_nested, no_setup, 0, FAULT_TS, FAULT_DF, 0, FAULT_DF, 0
    full_way "#SS, no gate", do_ss_absent, absent_for_any, 0, FAULT_SS, FAULT_DF, 0, FAULT_DF, 0
    prepared "#DE, #PF on the way", do_divide, remote_divide, FAULT_PF, 0, FAULT_PF, 0
    prepared "#GP, #PF on the way", do_load_outside, remote_protection, FAULT_PF, 0, FAULT_PF, 0
    prepared "#UD, #PF on the way", do_ud2, remote_undefined, FAULT_PF, 0, FAULT_PF, 0
    prepared "#PF, #PF on the way", do_read_nowhere, remote_page_fault, FAULT_DF, 0, FAULT_DF, 0
    prepared "int, #PF on the way", do_int_inner, remote_int, FAULT_PF, 0, FAULT_PF, 0
strict_ways:
    way "int1", do_int1, FAULT_DB, 0, FAULT_DB, 0
    missing "#UD, no gate", do_ud2, FAULT_UD, FAULT_NP, FAULT_UD * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_UD * 8 + IDT_ERROR + EXTERNAL
    full_way "#NM, no gate", do_fninit, fpu_switched, 0, FAULT_NM, FAULT_NP, FAULT_NM * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_NM * 8 + IDT_ERROR + EXTERNAL
    missing "#BR, no gate", do_bound, FAULT_BR, FAULT_NP, FAULT_BR * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_BR * 8 + IDT_ERROR + EXTERNAL
    missing "#MF, no gate", do_wait_for_error, FAULT_MF, FAULT_NP, FAULT_MF * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_MF * 8 + IDT_ERROR + EXTERNAL
    missing "#XM, no gate", do_divide_packed, FAULT_XM, FAULT_NP, FAULT_XM * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_XM * 8 + IDT_ERROR + EXTERNAL
    full_way "#AC, no gate", do_odd_word, alignment, 0, FAULT_AC, NO_FAULT, 0, FAULT_NP, FAULT_AC * 8 + IDT_ERROR + EXTERNAL
    missing "#DB, no gate", do_step, FAULT_DB, FAULT_NP, FAULT_DB * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_DB * 8 + IDT_ERROR + EXTERNAL
    missing "int1, no gate", do_int1, FAULT_DB, FAULT_NP, FAULT_DB * 8 + IDT_ERROR + EXTERNAL, FAULT_NP, FAULT_DB * 8 + IDT_ERROR + EXTERNAL
    way "mov cr0, PG without PE", do_bad_cr0, FAULT_GP, 0, FAULT_GP, 0
    way "mov cr4, reserved bits", do_bad_cr4, FAULT_GP, 0, FAULT_GP, 0
    way "rdmsr, unknown", do_bad_msr, FAULT_GP, 0, FAULT_GP, 0
    prepared "general detect", do_read_dr7, watch_registers, FAULT_DB, DETECTED, FAULT_GP, 0
    prepared "mov from dr4, DE set", do_read_dr4, debug_extensions, FAULT_UD, 0, FAULT_UD, 0
    prepared "word at an odd address, AC set", do_odd_word, alignment, NO_FAULT, 0, FAULT_AC, 0
    prepared "dword across pages, AC set", do_across_pages, alignment, NO_FAULT, 0, FAULT_AC, 0
    prepared "odd dword, no page, AC set", do_odd_nowhere, alignment, FAULT_PF, 0, FAULT_AC, 0
    prepared "byte at an odd address, AC set", do_odd_byte, alignment, NO_FAULT, 0, NO_FAULT, 0
    prepared "odd word, AC set, AM clear", do_odd_word, alignment_flag, NO_FAULT, 0, NO_FAULT, 0
    way "divps by zero", do_divide_packed, FAULT_XM, 0, FAULT_XM, 0
    prepared "divps by zero, OSXMMEXCPT clear", do_divide_packed, no_sse_exceptions, FAULT_UD, 0, FAULT_UD, 0
    prepared "read beyond the limit", do_read_beyond, limited, FAULT_GP, 0, FAULT_GP, 0
    prepared "read of the stack beyond the limit", do_stack_beyond, limited, FAULT_SS, 0, FAULT_SS, 0
    prepared "write to read-only data", do_write_read_only, read_only, FAULT_GP, 0, FAULT_GP, 0
    way "write to code", do_write_code, FAULT_GP, 0, FAULT_GP, 0
    prepared "int, offset beyond the limit", do_int_inner, to_far_offset, FAULT_GP, 0, FAULT_GP, 0
    prepared "int to ring 2, SS2 without room", do_int_inner, small_stack, FAULT_GP, RING_2_CODE_SELECTOR, FAULT_SS, SPARE_SELECTOR
    way "fld1, division by zero", do_load_after_error, FAULT_MF, 0, FAULT_MF, 0
    prepared "int to ring 2, SS2 absent", do_int_inner, absent_inner_stack, FAULT_GP, RING_2_CODE_SELECTOR, FAULT_SS, SPARE_SELECTOR
    way "single step, mov ss twice", do_step_stacks, FAULT_DB, STEPPED, FAULT_DB, STEPPED
    prepared "breakpoint behind mov ss", do_shadowed_breakpoint, watch_shadowed, NO_FAULT, 0, NO_FAULT, 0
    prepared "breakpoint behind mov ss twice", do_late_breakpoint, watch_late, FAULT_DB, 2, FAULT_DB, 2
    prepared "data breakpoint on mov ss", do_load_stack, watch_stack, FAULT_DB, 1, FAULT_DB, 1
ways_end:

.include "way_code.asm"
.include "way_setups.asm"
