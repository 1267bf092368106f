; What the ways of ways.asm do.

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
do_step_stack:
    mov eax, ss
    pushfd
    or dword [esp], 0x100
    popfd
    mov ss, eax
    nop
    nop
    int LEAVE_GATE
do_step_stacks:
    mov eax, ss
    pushfd
    or dword [esp], 0x100
    popfd
    mov ss, eax
    mov ss, eax
    nop
    int LEAVE_GATE
do_shadowed_breakpoint:
    mov eax, ss
    mov ss, eax
shadowed:
    nop
    int LEAVE_GATE
do_late_breakpoint:
    mov eax, ss
    mov ss, eax
    mov ss, eax
late:
    nop
    int LEAVE_GATE
do_load_stack:
    mov ss, [watched]
    nop
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
    lcall [to_spare]
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
    ljmp [to_null_selector]
do_jump_data:
    ljmp [to_data_selector]
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
    in al, PORT
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
do_too_long:
    .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90
do_read_cr0:
    mov eax, cr0
    int LEAVE_GATE
do_read_dr4:
    .byte 0x0F, 0x21, 0xE0
    int LEAVE_GATE
do_read_dr7:
    mov eax, dr7
    int LEAVE_GATE
do_write_dr6:
    mov dr6, eax
    int LEAVE_GATE
do_lmsw:
    smsw eax
    lmsw ax
    int LEAVE_GATE
do_invlpg:
    invlpg [KERNEL_PAGE]
    int LEAVE_GATE
do_wbinvd:
    wbinvd
    int LEAVE_GATE
do_sti:
    sti
    int LEAVE_GATE
do_rdtsc:
    rdtsc
    int LEAVE_GATE
do_sysenter:
    sysenter
do_pxor:
    pxor mm0, mm0
do_movaps:
    movaps xmm0, xmm1
do_wait_for_error:
    call divide_by_zero
    .byte 0x9B
do_load_after_error:
    call divide_by_zero
    fld1
do_write_watched:
    mov eax, [watched + 4]
    mov [watched], eax
    int LEAVE_GATE
do_read_watched:
    mov eax, [watched]
    int LEAVE_GATE
do_breakpoint:
    nop
breakpoint:
    nop
    int LEAVE_GATE
do_load_watched:
    mov eax, SPARE_SELECTOR + 3
    mov ds, eax
    int LEAVE_GATE
do_int_inner:
    int INNER_VECTOR
do_call_inner:
    lcall [to_spare]
do_far_return_inward:
    push CODE_SELECTOR
    push leave
    retf
do_odd_word:
    mov ax, [watched + 1]
    int LEAVE_GATE
do_across_pages:
    mov eax, [directory + 0xFFE]
    int LEAVE_GATE
do_odd_nowhere:
    mov eax, [NOWHERE + 1]
do_odd_byte:
    mov al, [watched + 1]
    int LEAVE_GATE
do_divide_packed:
    ldmxcsr [unmasked_division]
    xorps xmm0, xmm0
    movaps xmm1, [ones]
    divps xmm1, xmm0
do_read_beyond:
    mov eax, SPARE_SELECTOR + 3
    mov fs, eax
    mov eax, fs:[KERNEL_PAGE]
do_stack_beyond:
    mov ax, cs
    and eax, 3
    add eax, [limited_stack]
    mov ss, eax
    mov eax, ss:[KERNEL_PAGE]
do_write_read_only:
    mov eax, SPARE_SELECTOR + 3
    mov fs, eax
    mov fs:[watched], eax
do_write_code:
    mov cs:[watched], eax

divide_by_zero:
    fninit
    fldcw [unmasked_control]
    fld1
    fldz
    .byte 0xDE, 0xF9                    ; fdivp st(1), st
    ret

.section data
.align 16
ones:
    .long 0x3F800000, 0x3F800000, 0x3F800000, 0x3F800000
bounds:
    .long 6, 9
to_spare:
    .long 0, SPARE_SELECTOR
to_absent_code:
    .long 0, SPARE_2_SELECTOR + 3
to_null_selector:
    .long 0, 0
to_data_selector:
    .long 0, DATA_SELECTOR
unmasked_division:                      ; MXCSR and x87 control word with #Z unmasked
    .long 0x1D80
unmasked_control:
    .word 0x037B
.section bss
.align 8
watched:
    .space 8
limited_stack:
    .space 4
.section text
