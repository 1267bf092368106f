; Far transfers, software interrupts and returns. The value is a selector: CS or DS as seen at the destination.

.section bss
far_pointer:
    .space 8
.section text

gate_entry:                             ; USER_GATE and KERNEL_GATE: value = the interrupted CS
    mov eax, [esp + 4]
    iretd

do_int_user:
    int USER_GATE
    int LEAVE_GATE
do_int_kernel:
    int KERNEL_GATE
    int LEAVE_GATE
do_int_absent:
    int ABSENT_GATE
    int LEAVE_GATE
do_int_outside:
    int OUTSIDE_GATE
    int LEAVE_GATE
do_int_general_protection:              ; the vector of an exception is protected from programs by its gate's DPL
    int 13
    int LEAVE_GATE
do_int3:
    int3
    leave_with 1
do_into:                                ; overflow set
    mov al, 0x7F
    inc al
    into
    leave_with 1
do_into_without_overflow:
    xor eax, eax
    into
    leave_with 1

do_far_call:                            ; value: the CS pushed
    mov [far_pointer + 4], eax
    mov dword [far_pointer], .target
    lcall [far_pointer]
.target:
    movzx eax, word [esp + 4]
    int LEAVE_GATE
FAR_CALL_OFFSET = 15
do_far_jump:
    mov [far_pointer + 4], eax
    mov dword [far_pointer], selector_of_code
    ljmp [far_pointer]
FAR_JUMP_OFFSET = 15
selector_of_code:
    mov eax, cs
    movzx eax, ax
    int LEAVE_GATE
do_far_return:
    push eax
    push selector_of_code
    retf
RETURN_OFFSET = 6
do_far_return_outward:                  ; from CPL 0 to 3; value: CS there
    push USER_DATA_SELECTOR
    push snippet_stack_top
    push USER_CODE_SELECTOR
    push selector_of_code
    retf
do_far_return_hides_ds:                 ; DS of DPL 0 becomes null on the way out
    push USER_DATA_SELECTOR
    push snippet_stack_top
    push USER_CODE_SELECTOR
    push .selector_of_data
    retf
.selector_of_data:
    mov eax, ds
    movzx eax, ax
    int LEAVE_GATE
do_iret:
    pushfd
    push eax
    push selector_of_code
    iretd
IRET_OFFSET = 7
do_iret_flags:
    push eax
    push cs
    push .flags
    iretd
.flags:
    leave_with_flags FLAG_IF + FLAG_IOPL
do_sysenter:
    sysenter
    leave_with 1
do_sysexit:
    sysexit
    leave_with 1
