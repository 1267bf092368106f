; Ways into the kernel: exceptions, IRQ 0, INT 80h and SYSENTER, all with the same frame on the process's kernel stack.
; The kernel runs with interrupts off. It may touch a process's pages and fault them in as the process would.

FRAME_EAX = 28                          ; PUSHAD's registers first
FRAME_ESI = 4
FRAME_EBX = 16
FRAME_VECTOR = 32
FRAME_ERROR = 36
FRAME_EIP = 40
FRAME_CS = 44
FLAG_RESERVED = 2
FLAG_IF = 0x200

PAGE_FAULT = 14
TIMER_VECTOR = 0x20
SYSTEM_CALL_VECTOR = 0x80
IA32_SYSENTER_CS = 0x174
IA32_SYSENTER_ESP = 0x175
IA32_SYSENTER_EIP = 0x176

CALL_EXIT = 0                           ; system calls: number in eax, arguments in ebx and esi, result in eax
CALL_WRITE = 1                          ; ebx = address, esi = bytes -> bytes written or -1
CALL_PREEMPTIONS = 2                    ; -> times preempted
CALL_YIELD = 3
CALL_SLEEP = 4                          ; ebx = timer ticks
CALL_NUMBER = 5                         ; -> number of the process
CALL_FAULTS = 6                         ; -> page faults served
CALL_NAME = 7                           ; ebx = buffer of NAME_BYTES -> bytes without the terminator, or -1
CALLS = 8
NAME_BYTES = 32

.macro write_msr register, value
    mov ecx, \register
    mov eax, \value
    xor edx, edx
    wrmsr
.endm

traps_init:
    mov eax, ring0_stack_top
    call tss_init
    call interrupts_init
    call processes_init
    mov dword [exception_hook], trap_common
    mov eax, TIMER_VECTOR
    mov edx, timer_entry
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov eax, SYSTEM_CALL_VECTOR
    mov edx, system_call_entry
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    write_msr IA32_SYSENTER_CS, CODE_SELECTOR
    write_msr IA32_SYSENTER_ESP, tss + TSS_ESP0     ; sysenter_entry takes the stack from there
    write_msr IA32_SYSENTER_EIP, sysenter_entry
    ret

timer_entry:
    push 0
    push TIMER_VECTOR
    jmp trap_common

system_call_entry:
    push 0
    push SYSTEM_CALL_VECTOR
trap_common:                            ; vector and error code are pushed
    pushad
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov eax, [esp + FRAME_VECTOR]
    mov ebx, esp                        ; ebx = frame
    cmp eax, TIMER_VECTOR
    je .timer
    cmp eax, SYSTEM_CALL_VECTOR
    je .system_call
    call exception
    jmp return_from_trap
.timer:
    call timer_interrupt
    jmp return_from_trap
.system_call:
    call system_call
return_from_trap:
    test byte [esp + FRAME_CS], 3
    jz .to_kernel
    mov eax, USER_DATA_SELECTOR
    mov ds, eax
    mov es, eax
.to_kernel:
    popad
    add esp, 8
    iretd

sysenter_entry:                         ; ecx = user's stack pointer, edx = where it goes on; interrupts are off
    mov esp, [esp]
    push USER_DATA_SELECTOR
    push ecx
    pushfd
    push USER_CODE_SELECTOR
    push edx
    push 0
    push SYSTEM_CALL_VECTOR
    pushad
    mov ecx, DATA_SELECTOR
    mov ds, ecx
    mov es, ecx
    mov ebx, esp
    call system_call
    mov eax, USER_DATA_SELECTOR
    mov ds, eax
    mov es, eax
    popad
    add esp, 8
    pop edx
    add esp, 8
    pop ecx
    sti                                 ; in effect after SYSEXIT only
    sysexit

exception:                              ; ebx = frame
    mov eax, [ebx + FRAME_VECTOR]
    cmp eax, PAGE_FAULT
    jne .fatal
    mov eax, cr2
    mov edx, [ebx + FRAME_ERROR]
    call serve_page_fault
    test eax, eax
    jz .fatal
    ret
.fatal:
    test byte [ebx + FRAME_CS], 3
    jz .in_kernel
    mov eax, [ebx + FRAME_VECTOR]
    mov edx, [ebx + FRAME_ERROR]
    mov ecx, [ebx + FRAME_EIP]
    cmp eax, PAGE_FAULT
    jne end_process
    mov ecx, cr2
    jmp end_process
.in_kernel:                             ; a bug of ours: report as any guest does
    lea esp, [ebx + FRAME_VECTOR]
    jmp unexpected

system_call:                            ; ebx = frame
    mov eax, [ebx + FRAME_EAX]
    cmp eax, CALLS
    jae .unknown
    mov ecx, [current]
    call dword [system_calls + eax*4]
    mov [ebx + FRAME_EAX], eax
    ret
.unknown:
    mov dword [ebx + FRAME_EAX], -1
    ret

.align 4
system_calls:                           ; ebx = frame, ecx = current process -> eax
    .long call_exit, call_write, call_preemptions, call_yield, call_sleep, call_number, call_faults
    .long call_name

call_exit:
    mov eax, ENDED_BY_EXIT
    mov edx, [ebx + FRAME_EBX]
    xor ecx, ecx
    jmp end_process
call_preemptions:
    mov eax, [ecx + P_PREEMPTIONS]
    ret
call_yield:
    call schedule
    xor eax, eax
    ret
call_sleep:
    mov eax, [ticks]
    add eax, [ebx + FRAME_EBX]
    mov [ecx + P_WAKE_TICK], eax
    mov dword [ecx + P_STATE], STATE_SLEEPING
    call schedule
    xor eax, eax
    ret
call_number:
    mov eax, ecx
    jmp process_number
call_faults:
    mov eax, [ecx + P_FAULTS]
    ret

.section bss
.align 16
    .space 1024
ring0_stack_top:
    .space 16
.section text
