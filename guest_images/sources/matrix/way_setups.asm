; What is prepared for the ways of ways.asm: registers are free, esi = way.

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
