; What long-matrix tries. In `probes` bit 63 of an entry asks for level 3.

HOLE_LOW = 0x8000000000000000           ; not canonical

.macro user name
    .long \name, 0x80000000
.endm
.macro kernel name
    .long \name, 0
.endm

.align 8
probes:
    kernel p_nothing
    user p_nothing
    kernel p_divide
    user p_divide
    kernel p_breakpoint
    user p_breakpoint
    kernel p_undefined
    user p_privileged
    user p_guarded
    kernel p_software
    user p_not_canonical
    kernel p_not_canonical
    kernel p_read_only
    kernel p_read_only_read
    user p_user_page
    user p_supervisor
    user p_supervisor_write
    kernel p_no_execute
    user p_no_execute
    kernel p_reserved
    kernel p_missing
    kernel p_missing_write
    kernel p_missing_jump
    kernel p_across
    kernel p_bad_selector
    kernel p_system_selector
    kernel p_absent_selector
    kernel p_null_stack
    kernel p_stack_of_users
    user p_null_stack
    user p_null_data
    kernel p_limit
    user p_system_call
    kernel p_system_call
    kernel p_sysret
    kernel p_sysret_32
    kernel p_sysret_hole
    user p_sysret
    kernel p_iret_to_user
    kernel p_iret_to_32
    kernel p_iret_same
    kernel p_iret_null_stack
    kernel p_iret_nested
    kernel p_iret_bad_code
    kernel p_iret_both
    kernel p_iret_32
    kernel p_far_32
    kernel p_far_return
    kernel p_far_call
    user p_call_gate
    user p_call_gate_jump
    kernel p_call_no_gate
    kernel p_task_jump
    kernel p_bases
    user p_base_user
    kernel p_base_hole
    kernel p_swapgs
    user p_swapgs
    kernel p_efer
    kernel p_cr4
    kernel p_cr0
    kernel p_cr3
    kernel p_cr8
    kernel p_cr8_bad
    kernel p_tables
    kernel p_tables_hole
    kernel p_task_busy
    kernel p_segment_questions
    kernel p_flags
    user p_flags
    kernel p_step
    kernel p_watch
    kernel p_execute_watch
    user p_ports
    kernel p_string
    kernel p_compare_16
    user p_compatibility
    kernel p_table_end
    kernel p_ist
    .long 0, 0

p_nothing:
    mov eax, 0x12345678
    ret
p_divide:
    xor ecx, ecx
    div rcx
    ret
p_breakpoint:
    int3
    ret
p_undefined:
    ud2
    ret
p_privileged:
    hlt
    ret
p_guarded:
    int GUARDED
    ret
p_software:
    int 0x7F                            ; an empty gate
    ret
p_not_canonical:
    mov rbx, 0x0000800000000000
    mov rax, [rbx]
    ret
p_read_only:
    mov rbx, READ_ONLY
    mov [rbx], rax
    ret
p_read_only_read:
    mov rbx, READ_ONLY
    mov rax, [rbx]
    ret
p_user_page:
    mov rbx, USER_PAGE
    mov [rbx], rbx
    mov rax, [rbx]
    ret
p_supervisor:
    mov rbx, SUPERVISOR
    mov rax, [rbx]
    ret
p_supervisor_write:
    mov rbx, SUPERVISOR
    lock add [rbx], rax
    ret
p_no_execute:
    mov rbx, NO_EXECUTE
    mov byte [rbx], 0xC3
    call rbx
    ret
p_reserved:
    mov rbx, RESERVED_BIT
    mov rax, [rbx + 8]
    ret
p_missing:
    mov rbx, MISSING + 0xFFC
    mov eax, [rbx]
    ret
p_missing_write:
    mov rbx, MISSING
    inc qword [rbx + 16]
    ret
p_missing_jump:
    mov rbx, MISSING
    jmp rbx
p_across:                               ; the second page is the one that is missing
    mov rbx, MISSING - 4
    mov [rbx], rax
    ret
p_bad_selector:
    mov eax, 0x1230
    mov ds, eax
    ret
p_system_selector:
    mov eax, TASK
    mov es, eax
    ret
p_absent_selector:
    mov eax, NOT_PRESENT
    mov fs, eax
    ret
p_null_stack:
    xor eax, eax
    mov ss, eax
    mov rax, rsp
    mov eax, 1
    ret
p_stack_of_users:
    mov eax, USER_DATA
    mov ss, eax
    ret
p_null_data:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov rbx, USER_PAGE
    mov [rbx], rbx                      ; null data segments do not matter
    mov rax, [rbx]
    ret
p_limit:                                ; nor do limits
    mov rbx, USER_PAGE
    push rbx
    mov eax, 0x10
    mov ds, eax
    mov rax, [rbx]
    pop rax
    ret
p_system_call:
    mov eax, 0x55
    std
    stc
    syscall
    ret
p_sysret:
    mov rcx, user_done
    mov r11, 0x403
    mov rsp, USER_STACK - 8
    .byte 0x48, 0x0F, 0x07              ; sysretq
p_sysret_32:
    mov rcx, compatibility_leave
    mov r11, 2
    mov rsp, USER_STACK - 8
    .byte 0x0F, 0x07
p_sysret_hole:
    mov rcx, 0x0000800000000000
    mov r11, 2
    .byte 0x48, 0x0F, 0x07
p_iret_to_user:
    push USER_DATA
    mov rcx, USER_STACK - 8
    push rcx
    push 0x46
    push USER_CODE
    mov rcx, user_done
    push rcx
    iretq
p_iret_to_32:
    push USER_DATA
    mov rcx, USER_STACK - 8
    push rcx
    push 2
    push USER_CODE_32
    mov rcx, compatibility_leave
    push rcx
    iretq
p_iret_same:
    mov rcx, rsp
    push 0x10
    push rcx
    push 2
    push CODE_64
    mov rdx, .there
    push rdx
    iretq
.there:
    mov rax, rsp
    sub rax, rcx
    ret
p_iret_null_stack:
    mov rcx, rsp
    push 0
    push rcx
    push 2
    push CODE_64
    mov rdx, .there
    push rdx
    iretq
.there:
    mov ax, ss
    movzx eax, ax
    ret
p_iret_nested:
    mov rcx, rsp
    push 0x10
    push rcx
    push 2
    push CODE_64
    mov rdx, p_nothing
    push rdx
    push 0x4002
    popfq
    iretq
p_iret_bad_code:
    mov rcx, rsp
    push 0x10
    push rcx
    push 2
    push 0x10
    push rcx
    iretq
p_iret_both:
    mov rcx, rsp
    push 0x10
    push rcx
    push 2
    push 0x68
    push rcx
    iretq
p_iret_32:
    mov rcx, rsp
    sub rsp, 20
    mov edx, p_nothing
    mov [rsp], edx
    mov dword [rsp + 4], CODE_64
    mov dword [rsp + 8], 2
    mov [rsp + 12], ecx
    mov dword [rsp + 16], 0x10
    .byte 0xCF                          ; iretd
p_far_32:                               ; to 32-bit code of level 0, and back
    mov rbx, rsp
    push CODE_32
    mov rcx, code_32
    push rcx
    .byte 0x48, 0xCB                    ; retfq
p_far_return:
    push CODE_64
    mov rcx, p_nothing
    push rcx
    .byte 0x48, 0xCA, 0, 0              ; retfq 0
p_far_call:                             ; by a pointer to itself
    mov dword [scratch + 48], .there
    mov word [scratch + 52], CODE_64
    mov rbx, rsp
    .byte 0xFF, 0x1C, 0x25              ; call far [scratch + 48]
    .long scratch + 48
.there:
    mov rax, rbx
    sub rax, rsp
    mov rsp, rbx
    ret
p_call_gate:
    mov dword [window_pages + 0x2000], 0
    mov word [window_pages + 0x2004], CALL_GATE + 3
    .byte 0xFF, 0x1C, 0x25
    .long USER_PAGE
    ret
p_call_gate_jump:
    mov dword [window_pages + 0x2000], 0
    mov word [window_pages + 0x2004], CALL_GATE + 3
    .byte 0xFF, 0x2C, 0x25              ; jmp far
    .long USER_PAGE
p_call_no_gate:
    mov dword [scratch + 48], 0
    mov word [scratch + 52], TASK_32_GATE
    .byte 0xFF, 0x1C, 0x25
    .long scratch + 48
    ret
p_task_jump:
    mov dword [scratch + 48], 0
    mov word [scratch + 52], TASK
    .byte 0xFF, 0x2C, 0x25
    .long scratch + 48
p_bases:
    mov ecx, IA32_FS_BASE
    mov rdx, READ_ONLY - 0x10
    call wrmsr_pair
    mov ecx, IA32_GS_BASE
    mov rdx, 0xFFFFFFFFFFFFF000
    call wrmsr_pair
    mov rbx, USER_PAGE + 0x1000
    mov qword [USER_PAGE], 0x77
    mov rax, gs:[rbx]
    add rax, fs:[0x10]
    xor ecx, ecx
    mov fs, ecx
    mov ecx, IA32_FS_BASE
    rdmsr
    ret
p_base_user:
    mov ecx, IA32_FS_BASE
    rdmsr
    ret
p_base_hole:
    mov ecx, IA32_KERNEL_GS_BASE
    mov rdx, 0x1000000000000000
    call wrmsr_pair
    ret
p_swapgs:
    swapgs
    mov ecx, IA32_KERNEL_GS_BASE
    rdmsr
    swapgs
    ret
p_efer:
    mov ecx, IA32_EFER
    rdmsr
    and eax, 0xFFFFFEFF
    wrmsr                               ; LME while there is paging
    ret
p_cr4:
    mov rax, cr4
    and eax, 0xFFFFFFDF
    mov cr4, rax
    ret
p_cr0:
    mov rax, cr0
    and eax, 0x7FFFFFFF
    mov cr0, rax
    ret
p_cr3:
    mov rax, 0x8000000000000
    or rax, top_table
    mov cr3, rax
    ret
p_cr8:
    mov eax, 9
    .byte 0x44, 0x0F, 0x22, 0xC0        ; mov cr8, rax
    xor ebx, ebx
    .byte 0x44, 0x0F, 0x20, 0xC3        ; mov rbx, cr8
    xor eax, eax
    .byte 0x44, 0x0F, 0x22, 0xC0        ; mov cr8, rax
    mov rax, rbx
    ret
p_cr8_bad:
    mov eax, 16
    .byte 0x44, 0x0F, 0x22, 0xC0        ; mov cr8, rax
    ret
p_tables:
    sgdt [scratch + 48]
    mov rax, [scratch + 50]
    sub rax, gdt
    movzx ecx, word [scratch + 48]
    add rax, rcx
    ret
p_tables_hole:
    mov rbx, 0x0000800000000000
    mov [scratch + 50], rbx
    lidt [scratch + 48]
    ret
p_task_busy:
    mov eax, TASK
    ltr ax
    ret
p_segment_questions:
    mov eax, TASK
    .byte 0x48, 0x0F, 0x02, 0xD8        ; lar rbx, eax
    mov eax, USER_DATA
    .byte 0x48, 0x0F, 0x03, 0xC8        ; lsl rcx, eax
    mov eax, TASK_32_GATE
    .byte 0x48, 0x0F, 0x02, 0xD0        ; lar rdx, eax
    jz .found
    add rbx, 1
.found:
    mov eax, CODE_32
    verw ax
    jz .writable
    add rbx, 2
.writable:
    lea rax, [rbx + rcx]
    ret
p_flags:
    mov eax, 0x3F7FD7
    push rax
    popfq
    pushfq
    pop rax
    push 2
    popfq
    ret
p_step:
    push 0x102
    popfq
    nop
    nop
    ret
p_watch:
    mov rax, USER_PAGE + 8
    mov dr0, rax
    mov rax, 0xB0003                    ; eight bytes, writes and reads
    mov dr7, rax
    mov [USER_PAGE + 12], al
    nop
    ret
p_execute_watch:
    mov rax, .there
    mov dr1, rax
    mov eax, 0xC
    mov dr7, rax
    nop
.there:
    nop
    ret
p_ports:
    mov edx, 0x80
    out dx, al
    ret
p_string:
    mov rdi, USER_PAGE + 0x800
    mov ecx, 0x300
    mov rax, 0x1122334455667788
    cld
    rep stosq                           ; into the page that cannot be executed, and on into RESERVED_BIT
    ret
p_compare_16:
    mov ecx, 5
    mov rdx, .loop
    xor eax, eax
.loop:
    add eax, 3
    loop .loop
    ret
p_compatibility:                        ; by a far return of its own level
    push USER_CODE_32
    mov rcx, compatibility_leave
    push rcx
    .byte 0x48, 0xCB                    ; retfq
p_table_end:
    int 0xFF                            ; behind all gates
    ret
p_ist:
    mov rsp, 0x0000900000000000
    push rax
    ret

.bits 32
compatibility_leave:
    mov eax, 0xFFFFFFFF
    inc eax
    dec eax
    push 0x1234
    pop ecx
    int LEAVE
code_32:
    mov eax, esp
    jmp CODE_64:back_in_64
.bits 64
back_in_64:
    sub rax, rbx
    mov rsp, rbx
    ret
