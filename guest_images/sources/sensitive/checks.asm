; The checks:  holds  name, CPL, IOPL, code, input, value
;              faults name, CPL, IOPL, code, input, vector, error code, offset of the faulting instruction

FAULT_UD = 6
FAULT_NP = 11
FAULT_SS = 12
FAULT_GP = 13

.align 4
checks:
    ; Sensitive instructions that do not trap.
    holds "sgdt: base", 0, 0, do_sgdt_base, 0, all_kinds
    holds "sgdt: base", 3, 0, do_sgdt_base, 0, all_kinds
    holds "sgdt: limit", 0, 0, do_sgdt_limit, 0, GDT_LIMIT
    holds "sgdt: limit", 3, 0, do_sgdt_limit, 0, GDT_LIMIT
    holds "sidt: base", 0, 0, do_sidt_base, 0, idt
    holds "sidt: base", 3, 0, do_sidt_base, 0, idt
    holds "sidt: limit", 0, 0, do_sidt_limit, 0, IDT_LIMIT
    holds "sidt: limit", 3, 0, do_sidt_limit, 0, IDT_LIMIT
    holds "sldt", 0, 0, do_sldt, 0, LDT_SELECTOR
    holds "sldt", 3, 0, do_sldt, 0, LDT_SELECTOR
    holds "sldt to memory stores 16 bits", 3, 0, do_sldt_memory, 0, 0xFFFF0000 + LDT_SELECTOR
    holds "str", 0, 0, do_str, 0, TSS_SELECTOR
    holds "str", 3, 0, do_str, 0, TSS_SELECTOR
    holds "smsw shows PE and TS", 0, 0, do_smsw, 0, 9
    holds "smsw shows PE and TS", 3, 0, do_smsw, 0, 9
    holds "smsw to memory stores 16 bits", 3, 0, do_smsw_memory, 0, 0xFFFF0009

    holds "pushfd shows IF and IOPL", 0, 0, do_pushf, 0, 0x0200
    holds "pushfd shows IF and IOPL", 0, 3, do_pushf, 0, 0x3200
    holds "pushfd shows IF and IOPL", 3, 0, do_pushf, 0, 0x0200
    holds "pushfd shows IF and IOPL", 3, 3, do_pushf, 0, 0x3200
    holds "pushfw shows IF and IOPL", 3, 3, do_pushfw, 0, 0x3200
    holds "popfd changes IF and IOPL", 0, 0, do_popf, 0x3002, 0x3000
    holds "popfd changes IF and IOPL", 0, 3, do_popf, 0x0002, 0x0000
    holds "popfd changes neither IF nor IOPL", 3, 0, do_popf, 0x3002, 0x0200
    holds "popfd clears IF, leaves IOPL", 3, 3, do_popf, 0x0002, 0x3000
    holds "popfd leaves IF set", 3, 3, do_popf, 0x0202, 0x3200
    holds "popfw changes neither IF nor IOPL", 3, 0, do_popfw, 0x3002, 0x0200
    holds "popfw clears IF, leaves IOPL", 3, 3, do_popfw, 0x0002, 0x3000

    holds "lar of kernel code", 0, 0, do_lar, CODE_SELECTOR, 0x00C09A01
    holds "lar of kernel code fails", 3, 0, do_lar, CODE_SELECTOR, VISIBLE_RIGHTS
    holds "lar of kernel code by RPL 3 fails", 0, 0, do_lar, CODE_SELECTOR + 3, VISIBLE_RIGHTS
    holds "lar of conforming code", 3, 0, do_lar, CONFORMING_SELECTOR, 0x00C09E01
    holds "lar of user data", 0, 0, do_lar, USER_DATA_SELECTOR, 0x00C0F201
    holds "lar of user data", 3, 0, do_lar, USER_DATA_SELECTOR, 0x00C0F201
    holds "lar of an absent segment", 3, 0, do_lar, ABSENT_DATA_SELECTOR, 0x00C07201
    holds "lar of a busy TSS", 0, 0, do_lar, TSS_SELECTOR, 0x00008A01
    holds "lar of the LDT", 0, 0, do_lar, LDT_SELECTOR, 0x00008201
    holds "lar of null fails", 0, 0, do_lar, 0, VISIBLE_RIGHTS
    holds "lar beyond the GDT fails", 0, 0, do_lar, OUTSIDE_SELECTOR, VISIBLE_RIGHTS
    holds "lsl of kernel data", 0, 0, do_lsl, DATA_SELECTOR, 0xFFFFFFFF
    holds "lsl of kernel data fails", 3, 0, do_lsl, DATA_SELECTOR, UNTOUCHED
    holds "lsl of a small segment", 3, 0, do_lsl, SMALL_SELECTOR, SMALL_LIMIT
    holds "lsl of a TSS", 0, 0, do_lsl, TSS_SELECTOR, TSS_BYTES - 1
    holds "verr of user code", 3, 0, do_verr, USER_CODE_SELECTOR, 1
    holds "verr of kernel data", 0, 0, do_verr, DATA_SELECTOR, 1
    holds "verr of kernel data fails", 3, 0, do_verr, DATA_SELECTOR, 0
    holds "verr of execute-only code fails", 3, 0, do_verr, EXECUTE_ONLY_SELECTOR, 0
    holds "verr of conforming code", 3, 0, do_verr, CONFORMING_SELECTOR, 1
    holds "verr of a TSS fails", 0, 0, do_verr, TSS_SELECTOR, 0
    holds "verw of user data", 3, 0, do_verw, USER_DATA_SELECTOR, 1
    holds "verw of kernel data", 0, 0, do_verw, DATA_SELECTOR, 1
    holds "verw of kernel data fails", 3, 0, do_verw, DATA_SELECTOR, 0
    holds "verw of read-only data fails", 3, 0, do_verw, READ_ONLY_SELECTOR, 0
    holds "verw of code fails", 0, 0, do_verw, CODE_SELECTOR, 0

    holds "push cs shows the CPL", 0, 0, do_push_cs, 0, CODE_SELECTOR
    holds "push cs shows the CPL", 3, 0, do_push_cs, 0, USER_CODE_SELECTOR
    holds "push ss", 0, 0, do_push_ss, 0, DATA_SELECTOR
    holds "push ss", 3, 0, do_push_ss, 0, USER_DATA_SELECTOR
    holds "push ds", 3, 0, do_push_ds, 0, USER_DATA_SELECTOR
    holds "mov from cs shows the CPL", 0, 0, do_mov_from_cs, 0, CODE_SELECTOR
    holds "mov from cs shows the CPL", 3, 0, do_mov_from_cs, 0, USER_CODE_SELECTOR
    holds "mov from cs to memory stores 16 bits", 3, 0, do_mov_from_cs_memory, 0, 0xFFFF0000 + USER_CODE_SELECTOR
    holds "mov ds, user data", 0, 0, do_mov_ds, USER_DATA_SELECTOR, USER_DATA_SELECTOR
    holds "mov ds, conforming code", 3, 0, do_mov_ds, CONFORMING_SELECTOR, CONFORMING_SELECTOR
    holds "mov ds, null", 3, 0, do_mov_ds, 0, 0
    faults "mov ds, kernel data", 3, 0, do_mov_ds, DATA_SELECTOR, FAULT_GP, DATA_SELECTOR, 0
    faults "mov ds, kernel data by RPL 3", 0, 0, do_mov_ds, DATA_SELECTOR + 3, FAULT_GP, DATA_SELECTOR, 0
    faults "mov ds, execute-only code", 0, 0, do_mov_ds, EXECUTE_ONLY_SELECTOR, FAULT_GP, 0x40, 0
    faults "mov ds, absent data", 3, 0, do_mov_ds, ABSENT_DATA_SELECTOR, FAULT_NP, 0x48, 0
    faults "mov ds, TSS", 0, 0, do_mov_ds, TSS_SELECTOR, FAULT_GP, TSS_SELECTOR, 0
    faults "mov ds, beyond the GDT", 3, 0, do_mov_ds, OUTSIDE_SELECTOR, FAULT_GP, 0x200, 0
    faults "mov ds, beyond the LDT", 3, 0, do_mov_ds, 0x0F, FAULT_GP, 0x0C, 0
    faults "mov ss, null", 0, 0, do_mov_ss, 0, FAULT_GP, 0, 0
    faults "mov ss, user data", 0, 0, do_mov_ss, USER_DATA_SELECTOR, FAULT_GP, 0x20, 0
    holds "mov ss, user data", 3, 0, do_mov_ss, USER_DATA_SELECTOR, USER_DATA_SELECTOR
    faults "mov ss, read-only data", 3, 0, do_mov_ss, READ_ONLY_SELECTOR, FAULT_GP, 0x38, 0
    faults "mov ss, absent data", 3, 0, do_mov_ss, ABSENT_DATA_SELECTOR, FAULT_SS, 0x48, 0
    faults "mov cs does not exist", 0, 0, do_mov_cs, CODE_SELECTOR, FAULT_UD, 0, 0
    holds "pop ds, user data", 0, 0, do_pop_ds, USER_DATA_SELECTOR, USER_DATA_SELECTOR
    holds "pop fs, null", 3, 0, do_pop_fs, 0, 0
    faults "pop ds, kernel data", 3, 0, do_pop_ds, DATA_SELECTOR, FAULT_GP, DATA_SELECTOR, 1
    faults "pop fs, absent data", 0, 0, do_pop_fs, ABSENT_DATA_SELECTOR, FAULT_NP, 0x48, 1
    faults "pop ss, user data", 0, 0, do_pop_ss, USER_DATA_SELECTOR, FAULT_GP, 0x20, 1
    holds "pop ss, user data", 3, 0, do_pop_ss, USER_DATA_SELECTOR, USER_DATA_SELECTOR

    holds "far call", 0, 0, do_far_call, CODE_SELECTOR, CODE_SELECTOR
    holds "far call", 3, 0, do_far_call, USER_CODE_SELECTOR, USER_CODE_SELECTOR
    holds "far call to conforming code", 3, 0, do_far_call, CONFORMING_SELECTOR, USER_CODE_SELECTOR
    faults "far call to kernel code", 3, 0, do_far_call, CODE_SELECTOR, FAULT_GP, CODE_SELECTOR, FAR_CALL_OFFSET
    faults "far call to user code", 0, 0, do_far_call, USER_CODE_SELECTOR, FAULT_GP, 0x18, FAR_CALL_OFFSET
    faults "far call to data", 3, 0, do_far_call, USER_DATA_SELECTOR, FAULT_GP, 0x20, FAR_CALL_OFFSET
    faults "far call to absent code", 3, 0, do_far_call, ABSENT_CODE_SELECTOR, FAULT_NP, 0x58, FAR_CALL_OFFSET
    holds "far jump", 0, 0, do_far_jump, CODE_SELECTOR, CODE_SELECTOR
    holds "far jump", 3, 0, do_far_jump, USER_CODE_SELECTOR, USER_CODE_SELECTOR
    holds "far jump to conforming code keeps the CPL", 0, 0, do_far_jump, CONFORMING_SELECTOR, CONFORMING_SELECTOR
    holds "far jump to conforming code keeps the CPL", 3, 0, do_far_jump, CONFORMING_SELECTOR, CONFORMING_SELECTOR + 3
    faults "far jump to kernel code", 3, 0, do_far_jump, CODE_SELECTOR, FAULT_GP, CODE_SELECTOR, FAR_JUMP_OFFSET
    faults "far jump to null", 0, 0, do_far_jump, 0, FAULT_GP, 0, FAR_JUMP_OFFSET
    faults "far jump beyond the GDT", 0, 0, do_far_jump, OUTSIDE_SELECTOR, FAULT_GP, 0x200, FAR_JUMP_OFFSET
    holds "far return", 0, 0, do_far_return, CODE_SELECTOR, CODE_SELECTOR
    holds "far return", 3, 0, do_far_return, USER_CODE_SELECTOR, USER_CODE_SELECTOR
    faults "far return to kernel code", 3, 0, do_far_return, CODE_SELECTOR, FAULT_GP, CODE_SELECTOR, RETURN_OFFSET
    holds "far return to user code", 0, 0, do_far_return_outward, 0, USER_CODE_SELECTOR
    holds "far return to user code takes kernel data away", 0, 0, do_far_return_hides_ds, 0, 0

    holds "int to a DPL 3 gate", 0, 0, do_int_user, 0, CODE_SELECTOR
    holds "int to a DPL 3 gate", 3, 0, do_int_user, 0, USER_CODE_SELECTOR
    holds "int to a DPL 0 gate", 0, 0, do_int_kernel, 0, CODE_SELECTOR
    faults "int to a DPL 0 gate", 3, 0, do_int_kernel, 0, FAULT_GP, KERNEL_GATE * 8 + 2, 0
    faults "int to a DPL 0 gate", 3, 3, do_int_kernel, 0, FAULT_GP, KERNEL_GATE * 8 + 2, 0
    faults "int to an absent gate", 0, 0, do_int_absent, 0, FAULT_NP, ABSENT_GATE * 8 + 2, 0
    faults "int to an absent gate", 3, 0, do_int_absent, 0, FAULT_NP, ABSENT_GATE * 8 + 2, 0
    faults "int beyond the IDT", 3, 0, do_int_outside, 0, FAULT_GP, OUTSIDE_GATE * 8 + 2, 0
    faults "int 13", 3, 0, do_int_general_protection, 0, FAULT_GP, 13 * 8 + 2, 0
    faults "int3 is a trap", 0, 0, do_int3, 0, 3, 0, 1
    faults "int3 to a DPL 0 gate", 3, 0, do_int3, 0, FAULT_GP, 3 * 8 + 2, 0
    faults "into with overflow is a trap", 0, 0, do_into, 0, 4, 0, 5
    faults "into with overflow to a DPL 0 gate", 3, 0, do_into, 0, FAULT_GP, 4 * 8 + 2, 4
    holds "into without overflow", 3, 0, do_into_without_overflow, 0, 1
    holds "iret", 0, 0, do_iret, CODE_SELECTOR, CODE_SELECTOR
    holds "iret", 3, 0, do_iret, USER_CODE_SELECTOR, USER_CODE_SELECTOR
    faults "iret to kernel code", 3, 0, do_iret, CODE_SELECTOR, FAULT_GP, CODE_SELECTOR, IRET_OFFSET
    holds "iret changes IF and IOPL", 0, 0, do_iret_flags, 0x3002, 0x3000
    holds "iret changes neither IF nor IOPL", 3, 0, do_iret_flags, 0x3002, 0x0200
    holds "iret clears IF, leaves IOPL", 3, 3, do_iret_flags, 0x0002, 0x3000

    ; Instructions that depend on IOPL.
    holds "cli", 0, 0, do_cli, 0, 0
    faults "cli", 3, 0, do_cli, 0, FAULT_GP, 0, 0
    holds "cli", 3, 3, do_cli, 0, 0
    holds "sti", 0, 0, do_cli_sti, 0, FLAG_IF
    faults "sti", 3, 0, do_sti, 0, FAULT_GP, 0, 0
    holds "sti", 3, 3, do_cli_sti, 0, FLAG_IF
    holds "in", 0, 0, do_in, 0, 1
    faults "in", 3, 0, do_in, 0, FAULT_GP, 0, 0
    holds "in", 3, 3, do_in, 0, 1
    faults "in eax, dx", 3, 0, do_in_dx, 0, FAULT_GP, 0, 0
    holds "out", 0, 0, do_out, 0, 1
    faults "out", 3, 0, do_out, 0, FAULT_GP, 0, 0
    holds "out", 3, 3, do_out, 0, 1
    holds "insb", 0, 0, do_insb_whole, 0, 1
    faults "insb", 3, 0, do_insb, 0, FAULT_GP, 0, 0
    holds "insb", 3, 3, do_insb_whole, 0, 1
    faults "outsb", 3, 0, do_outsb, 0, FAULT_GP, 0, 0
    holds "outsb", 3, 3, do_outsb_whole, 0, 1

    ; Privileged instructions.
    holds "lgdt", 0, 0, do_lgdt, 0, OTHER_GDT_LIMIT
    faults "lgdt", 3, 3, do_lgdt, 0, FAULT_GP, 0, 0
    holds "lidt", 0, 0, do_lidt, 0, IDT_LIMIT + 8
    faults "lidt", 3, 3, do_lidt, 0, FAULT_GP, 0, 0
    holds "lldt null", 0, 0, do_lldt, 0, 0
    faults "lldt of data", 0, 0, do_lldt, DATA_SELECTOR, FAULT_GP, DATA_SELECTOR, 0
    faults "lldt", 3, 3, do_lldt, LDT_SELECTOR, FAULT_GP, 0, 0
    faults "ltr of a busy TSS", 0, 0, do_ltr, TSS_SELECTOR, FAULT_GP, TSS_SELECTOR, 0
    faults "ltr", 3, 3, do_ltr, TSS_SELECTOR, FAULT_GP, 0, 0
    holds "lmsw cannot clear PE", 0, 0, do_lmsw, CR0_TS, 9
    faults "lmsw", 3, 3, do_lmsw, 9, FAULT_GP, 0, 0
    holds "clts", 0, 0, do_clts, 0, 1
    faults "clts", 3, 3, do_clts, 0, FAULT_GP, 0, 0
    holds "mov eax, cr0", 0, 0, do_read_cr0, 0, 9
    faults "mov eax, cr0", 3, 3, do_read_cr0, 0, FAULT_GP, 0, 0
    faults "mov cr0, eax", 3, 3, do_write_cr0, 1, FAULT_GP, 0, 0
    holds "mov cr2, eax", 0, 0, do_write_cr2, 0x12345678, 0x12345678
    faults "mov eax, cr2", 3, 3, do_read_cr2, 0, FAULT_GP, 0, 0
    faults "mov cr2, eax", 3, 3, do_write_cr2, 0, FAULT_GP, 0, 0
    holds "mov cr3, eax", 0, 0, do_write_cr3, 0x00345000, 0x00345000
    faults "mov eax, cr3", 3, 3, do_read_cr3, 0, FAULT_GP, 0, 0
    faults "mov cr3, eax", 3, 3, do_write_cr3, 0, FAULT_GP, 0, 0
    holds "mov cr4, eax", 0, 0, do_write_cr4, 0, 0
    faults "mov eax, cr4", 3, 3, do_read_cr4, 0, FAULT_GP, 0, 0
    faults "mov cr4, eax", 3, 3, do_write_cr4, 0, FAULT_GP, 0, 0
    holds "mov eax, dr7", 0, 0, do_read_dr7, 0, 0x400
    faults "mov eax, dr7", 3, 3, do_read_dr7, 0, FAULT_GP, 0, 0
    holds "mov dr0, eax", 0, 0, do_write_dr0, 0x1000, 0x1000
    faults "mov dr0, eax", 3, 3, do_write_dr0, 0, FAULT_GP, 0, 0
    holds "wrmsr and rdmsr", 0, 0, do_msr_round_trip, 0x55, 0x55
    faults "rdmsr", 3, 3, do_rdmsr, 0, FAULT_GP, 0, 0
    faults "wrmsr", 3, 3, do_wrmsr, 0, FAULT_GP, 0, 0
    holds "invlpg", 0, 0, do_invlpg, 0, 1
    faults "invlpg", 3, 3, do_invlpg, 0, FAULT_GP, 0, 0
    holds "wbinvd", 0, 0, do_wbinvd, 0, 1
    faults "wbinvd", 3, 3, do_wbinvd, 0, FAULT_GP, 0, 0
    faults "invd", 3, 3, do_invd, 0, FAULT_GP, 0, 0
    faults "hlt", 3, 3, do_hlt, 0, FAULT_GP, 0, 0
    faults "sysexit", 3, 0, do_sysexit, 0, FAULT_GP, 0, 0
    faults "sysexit without a code selector", 0, 0, do_sysexit, 0, FAULT_GP, 0, 0
    faults "sysenter without a code selector", 0, 0, do_sysenter, 0, FAULT_GP, 0, 0
    faults "sysenter without a code selector", 3, 0, do_sysenter, 0, FAULT_GP, 0, 0

    ; Unprivileged, whatever one might expect.
    holds "rdtsc with CR4.TSD clear", 3, 0, do_rdtsc, 0, 1
    holds "cpuid", 3, 0, do_cpuid, 0, 1
checks_end:

    ; Use of segments, only with accesses=on: QEMU's emulator checks neither limits nor types when memory is accessed.
    faults "read through a null selector", 3, 0, do_read_fs, 0, FAULT_GP, 0, 2
    faults "read beyond the limit", 3, 0, do_read_fs, SMALL_SELECTOR, FAULT_GP, 0, 2
    faults "write to read-only data", 3, 0, do_write_fs, READ_ONLY_SELECTOR, FAULT_GP, 0, 2
    faults "write to code", 0, 0, do_write_fs, CODE_SELECTOR, FAULT_GP, 0, 2
    holds "write to user data", 3, 0, do_write_fs, USER_DATA_SELECTOR, 1
access_checks_end:
