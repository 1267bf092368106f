; The handlers of faults-matrix: where the exceptions of ways.asm end, whatever the gate.

COLLECT_GATE = 0x82                     ; from an outer handler to ring 0
FLAG_RF = 0x10000
WITH_ERROR_CODE = 0x27D00               ; bit n: vector n pushes an error code
TSS_16_BYTES = 44

.section bss
.align 16
handler_task:
    .space TSS_BYTES
.align 16
handler_task_16:
    .space TSS_16_BYTES
    .space 1024
handler_stack_top:
.align 4
handler_flags:
    .space 4
pushed_flags:
    .space 4
handler_ring:
    .space 4
stack_is_right:                         ; 1: the frame lay where it should
    .space 4
.section text

make_tasks:                             ; the handler's tasks as new, ours in TR
    mov edi, handler_task
    mov ecx, TSS_BYTES / 4
    xor eax, eax
    rep stosd
    mov edi, handler_task_16
    mov ecx, TSS_16_BYTES / 4
    rep stosd
    mov dword [handler_task + 28], directory
    mov dword [handler_task + 32], task_handler
    mov dword [handler_task + 36], FLAG_RESERVED
    mov dword [handler_task + 56], handler_stack_top
    mov eax, DATA_SELECTOR
    mov [handler_task + 72], eax        ; es cs ss ds
    mov dword [handler_task + 76], CODE_SELECTOR
    mov [handler_task + 80], eax
    mov [handler_task + 84], eax
    mov dword [handler_task + 96], LDT_SELECTOR
    mov word [handler_task_16 + 14], task_handler_16 - short_stubs
    mov word [handler_task_16 + 16], FLAG_RESERVED
    mov word [handler_task_16 + 26], handler_stack_top - handler_task
    mov [handler_task_16 + 34], ax      ; es cs ss ds
    mov word [handler_task_16 + 36], STUB_CODE_SELECTOR
    mov word [handler_task_16 + 38], HANDLER_STACK_SELECTOR
    mov [handler_task_16 + 40], ax
    mov word [handler_task_16 + 42], LDT_SELECTOR
    mov eax, HANDLER_TASK_SELECTOR
    mov edx, handler_task
    mov ecx, TSS_BYTES - 1
    mov ebx, 0x0089
    call describe
    mov eax, TSS_SELECTOR
    mov edx, tss
    call describe
    mov eax, HANDLER_TASK_16_SELECTOR
    mov edx, handler_task_16
    mov ecx, TSS_16_BYTES - 1
    mov ebx, 0x0081
    call describe
    mov word [tss], 0                   ; no task to return to
    mov eax, directory
    mov [tss + 28], eax
    mov eax, TSS_SELECTOR
    ltr ax
    ret

inner_entry:                            ; where gates to ring 2 lead
    int LEAVE_GATE

fault:                                  ; vector, error code (0 if there is none), frame of 32 bits an item
    pushfd
    pop dword [handler_flags]
    cld
    call flat_segments
    pop dword [found_vector]
    pop dword [found_error]
    pop eax
    sub eax, [probe_code]
    mov [found_offset], eax
    pop ecx                             ; CS
    pop dword [pushed_flags]
    mov dword [handler_ring], 0
    mov dword [stack_is_right], 1
    test ecx, 3
    jz probe_end
    add esp, 8
caught_inner:
    mov dword [stack_is_right], 1
    cmp esp, ring0_stack_top
    je probe_end
    mov dword [stack_is_right], 0
    jmp probe_end

outer_fault:                            ; the same for handlers that may be at an outer ring, where all data is read-write
    pushfd
    pop dword [handler_flags]
    cld
    pop dword [found_vector]
    pop dword [found_error]
    pop eax
    sub eax, [probe_code]
    mov [found_offset], eax
    pop ecx
    pop dword [pushed_flags]
    mov eax, cs
    and eax, 3
    mov [handler_ring], eax
    mov dword [stack_is_right], 1
    cmp eax, 1
    jne .collect
    lea eax, [esp + 8]
    cmp eax, ring_1_stack_top
    je .collect
    mov dword [stack_is_right], 0
.collect:
    int COLLECT_GATE
collected:
    cld
    call flat_segments
    jmp probe_end

.macro short_stub vector
    .align STUB_BYTES
    push \vector
    jmp near short_common
.endm

.align STUB_BYTES
short_stubs:                            ; offsets from here are offsets in STUB_CODE_SELECTOR
    short_stub 0
    short_stub 1
    short_stub 2
    short_stub 3
    short_stub 4
    short_stub 5
    short_stub 6
    short_stub 7
    short_stub 8
    short_stub 9
    short_stub 10
    short_stub 11
    short_stub 12
    short_stub 13
    short_stub 14
    short_stub 15
    short_stub 16
    short_stub 17
    short_stub 18
    short_stub 19
short_common:
    jmp CODE_SELECTOR:short_fault

task_handler_16:                        ; a task with SS and CS that do not begin at 0
    pushfd
    pop dword [handler_flags]
    mov eax, [gate_vector]
    xor edx, edx
    bt dword [with_error_code], eax
    jnc .no_error_code
    pop dx
.no_error_code:
    cmp sp, handler_stack_top - handler_task
    sete [stack_is_right]
    mov ecx, DATA_SELECTOR
    mov ss, ecx
    mov esp, handler_stack_top
    mov ebx, handler_task_16
    jmp CODE_SELECTOR:task_caught

short_fault:                            ; vector of 32 bits, frame of 16 bits an item
    pushfd
    pop dword [handler_flags]
    cld
    call flat_segments
    pop ebx
    mov [found_vector], ebx
    mov dword [found_error], 0
    bt dword [with_error_code], ebx
    jnc .no_error_code
    movzx eax, word [esp]
    mov [found_error], eax
    add esp, 2
.no_error_code:
    mov eax, [esp]
    sub eax, [probe_code]
    and eax, 0xFFFF
    mov [found_offset], eax
    movzx eax, word [esp + 4]
    mov [pushed_flags], eax
    mov dword [handler_ring], 0
    mov dword [stack_is_right], 1
    movzx ecx, word [esp + 2]
    add esp, 6
    test ecx, 3
    jz probe_end
    add esp, 4
    jmp caught_inner

with_error_code:
    .long WITH_ERROR_CODE

task_handler:                           ; a task of its own; its back link says whom it interrupted
    pushfd
    pop dword [handler_flags]
    mov eax, [gate_vector]
    xor edx, edx
    bt dword [with_error_code], eax
    jnc .no_error_code
    pop edx
.no_error_code:
    cmp esp, handler_stack_top
    sete [stack_is_right]
    mov ebx, handler_task
task_caught:                            ; eax = vector, edx = error code, ebx = the handler's TSS
    mov [found_vector], eax
    mov [found_error], edx
    mov dword [handler_ring], 0
    cmp word [ebx], TSS_SELECTOR
    je .link_right
    mov byte [stack_is_right], 0
.link_right:
    mov eax, [tss + 32]
    sub eax, [probe_code]
    mov [found_offset], eax
    mov eax, [tss + 36]
    mov [pushed_flags], eax
    push FLAG_RESERVED
    popfd
    jmp probe_end
