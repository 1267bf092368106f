; What the ways of ways.asm do, and what is prepared for them.

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

; -- setups: registers are free, esi = way -----------------------------------------------------------------------------

small_task:                             ; a TSS that is too small
    mov ecx, 0x20
    mov ebx, 0x00E9
    jmp describe_spare
absent_code:
    mov ebx, 0xC07A
describe_spare_2:
    mov eax, SPARE_2_SELECTOR
    xor edx, edx
    mov ecx, 0xFFFFF
    jmp describe
absent_stack:                           ; of ring 0
    mov eax, SPARE_3_SELECTOR
    xor edx, edx
    mov ecx, 0xFFFFF
    mov ebx, 0xC012
    jmp describe
absent_for_any:                         ; ABSENT for the ring's own stack
    cmp dword [ring], 0
    jne no_setup
    mov byte [table + ABSENT_SELECTOR + 5], 0x12
    ret
read_only:
    mov ecx, 0xFFFFF
    mov ebx, 0xC0F0
    jmp describe_spare
limited:                                ; data that ends before KERNEL_PAGE: SPARE for ring 3, SPARE_3 for ring 0
    mov dword [limited_stack], SPARE_3_SELECTOR
    mov eax, SPARE_3_SELECTOR
    xor edx, edx
    mov ecx, (KERNEL_PAGE >> 12) - 1
    mov ebx, 0xC092
    call describe
    cmp dword [ring], 0
    je .spare
    mov dword [limited_stack], SPARE_SELECTOR
.spare:
    mov ebx, 0xC0F2
describe_spare:                         ; ecx = limit, ebx = flags and access byte
    mov eax, SPARE_SELECTOR
    xor edx, edx
    jmp describe

fpu_switched:
    mov eax, cr0
    or eax, CR0_MP + CR0_TS
    mov cr0, eax
    ret
fpu_emulated:
    mov eax, cr0
    or eax, CR0_EM
    mov cr0, eax
    ret
no_sse:
    mov eax, CR4_PSE
    mov cr4, eax
    ret
no_sse_exceptions:
    mov eax, CR4_PSE + CR4_OSFXSR
    mov cr4, eax
    ret
no_time:
    mov eax, cr4
    or eax, CR4_TSD
    mov cr4, eax
    ret

watch_stack:                            ; a selector for SS, whose reading breakpoint 0 watches
    mov eax, DATA_SELECTOR
    cmp dword [ring], 0
    je .ring_0
    mov eax, USER_DATA_SELECTOR
.ring_0:
    mov [watched], eax
    mov edx, 0x000F0402
    jmp watch_dword
watch_data:                             ; breakpoint 0: writes to a dword
    mov edx, 0x000D0402
watch_dword:
    mov eax, watched
    mov dr0, eax
    mov dr7, edx
    ret
watch_shadowed:
    mov eax, shadowed
    jmp watch_instruction
watch_late:
    mov eax, late
    jmp watch_instruction
watch_code:
    mov eax, breakpoint
watch_instruction:                      ; breakpoint 1: eax = address
    mov dr1, eax
    mov eax, 0x00000408
    mov dr7, eax
    ret
watch_port:                             ; breakpoint 2
    call debug_extensions
    mov eax, PORT
    mov dr2, eax
    mov eax, 0x02000420
    mov dr7, eax
    ret
debug_extensions:
    mov eax, cr4
    or eax, CR4_DE
    mov cr4, eax
    ret
watch_descriptor:                       ; breakpoint 3: reads and writes of SPARE's first dword
    mov ecx, 0xFFFFF
    mov ebx, 0xC0F3
    call describe_spare
    mov eax, table + SPARE_SELECTOR
    mov dr3, eax
    mov eax, 0xF0000480
    mov dr7, eax
    ret
watch_registers:                        ; which ring 3 cannot set off
    cmp dword [ring], 0
    jne no_setup
    mov eax, 0x2400
    mov dr7, eax
no_setup:
    ret

null_stack:
    mov dword [tss + TSS_SS2], 0
    ret
kernel_stack:
    mov dword [tss + TSS_SS2], DATA_SELECTOR
    ret
code_stack:
    mov dword [tss + TSS_SS2], RING_2_CODE_SELECTOR + 2
    ret
outside_stack:
    mov dword [tss + TSS_SS2], OUTSIDE_SELECTOR + 2
    ret
absent_inner_stack:
    mov ebx, 0xC052
    mov ecx, 0xFFFFF
    jmp inner_spare_stack
small_stack:                            ; ends where the frame of five dwords would
    mov ebx, 0x40D2
    mov ecx, 18
    mov dword [tss + TSS_ESP2], 20
inner_spare_stack:
    mov dword [tss + TSS_SS2], SPARE_SELECTOR + 2
    jmp describe_spare

to_absent:
    mov word [idt + INNER_VECTOR*8 + 2], SPARE_2_SELECTOR
    mov ebx, 0xC01A
    jmp describe_spare_2
to_data:
    mov word [idt + INNER_VECTOR*8 + 2], DATA_SELECTOR
    ret
to_null:
    mov word [idt + INNER_VECTOR*8 + 2], 0
    ret
gate_absent:
    mov byte [idt + INNER_VECTOR*8 + 5], 0x6E
    ret
to_busy_task:
    mov word [idt + INNER_VECTOR*8 + 2], TSS_SELECTOR
    mov byte [idt + INNER_VECTOR*8 + 5], 0xE5
    ret
to_far_offset:                          ; of a segment of 64 KiB
    mov word [idt + INNER_VECTOR*8 + 2], STUB_CODE_SELECTOR
    mov dword [idt + INNER_VECTOR*8 + 4], 0x0001EE00
    ret

remote_divide:                          ; the handler's segment is in an LDT on a page that is missing
    mov edx, FAULT_DE
    jmp remote
remote_protection:
    mov edx, FAULT_GP
    jmp remote
remote_undefined:
    mov edx, FAULT_UD
    jmp remote
remote_page_fault:
    mov edx, FAULT_PF
    jmp remote
remote_int:
    mov edx, INNER_VECTOR
remote:
    mov word [idt + edx*8 + 2], 4
    mov edx, NOWHERE
    mov eax, SPARE_SELECTOR
    mov ecx, LDT_BYTES - 1
    mov ebx, 0x0082
    call describe
    mov eax, SPARE_SELECTOR
    lldt ax
    ret

call_gate_absent:
    call call_gate
    and byte [table + SPARE_SELECTOR + 5], 0x7F
    ret
call_gate_null_stack:
    mov dword [tss + TSS_SS2], 0
call_gate:                              ; at SPARE, to ring 2
    mov eax, inner_entry
    mov [table + SPARE_SELECTOR], ax
    mov word [table + SPARE_SELECTOR + 2], RING_2_CODE_SELECTOR
    mov ax, 0xEC00
    mov [table + SPARE_SELECTOR + 4], eax
    ret

alignment:
    mov eax, cr0
    or eax, CR0_AM
    mov cr0, eax
alignment_flag:
    or dword [probe_flags], FLAG_AC
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
