; Processes: creation, round-robin scheduling, context switch, end. Process 0 is the kernel's boot thread, idle later.

P_ESP = 0                               ; kernel stack pointer while another process runs
P_CR3 = 4
P_KERNEL_STACK = 8                      ; its upper end
P_STATE = 12
P_WAKE_TICK = 16
P_PREEMPTIONS = 20                      ; times the timer took the processor away
P_FAULTS = 24                           ; page faults served
P_WRITTEN = 28                          ; bytes on the console
P_VECTOR = 32                           ; what ended it: an exception, or ENDED_BY_EXIT
P_CODE = 36                             ; error code, or exit code
P_ADDRESS = 40                          ; CR2 for a page fault, else EIP
PROCESS_BYTES = 64
PROCESSES = 8

STATE_READY = 1
STATE_SLEEPING = 2
STATE_ENDED = 3
ENDED_BY_EXIT = 0x100

.section bss
.align 64
processes:
    .space PROCESSES * PROCESS_BYTES
processes_end:
current:
    .space 4
.section text

processes_init:
    mov dword [current], processes
    mov eax, cr3
    mov [processes + P_CR3], eax
    mov dword [processes + P_STATE], STATE_READY
    ret

process_number:                         ; eax = process -> eax = its number
    sub eax, processes
    shr eax, 6                          ; by PROCESS_BYTES
    ret

.macro push_on_new_stack value
    sub esi, 4
    mov dword [esi], \value
.endm

create_process:                         ; eax = its entry in the table; the program is the one of the same number
    push ebx
    push esi
    push edi
    mov ebx, eax
    mov edi, eax
    xor eax, eax
    mov ecx, PROCESS_BYTES / 4
    rep stosd
    call create_address_space
    mov [ebx + P_CR3], eax
    call allocate_frame
    add eax, 4096
    mov [ebx + P_KERNEL_STACK], eax
    mov esi, eax
    mov eax, ebx
    call process_number
    mov ecx, [programs + eax*8 - 4]     ; entry point
    push_on_new_stack USER_DATA_SELECTOR
    push_on_new_stack STACK_TOP
    push_on_new_stack FLAG_IF + FLAG_RESERVED
    push_on_new_stack USER_CODE_SELECTOR
    push_on_new_stack ecx
    sub esi, 8 + 32                     ; error code, vector, general registers: all zero
    push_on_new_stack return_from_trap
    sub esi, 16                         ; what switch_to pops
    mov [ebx + P_ESP], esi
    mov dword [ebx + P_STATE], STATE_READY
    pop edi
    pop esi
    pop ebx
    ret

schedule:                               ; give the processor to the next ready process; to process 0 if there is none
    mov eax, [current]
    mov ecx, PROCESSES
.next:
    add eax, PROCESS_BYTES
    cmp eax, processes_end
    jne .in_table
    mov eax, processes + PROCESS_BYTES
.in_table:
    cmp dword [eax + P_STATE], STATE_READY
    je switch_to
    dec ecx
    jnz .next
    mov eax, processes
switch_to:                              ; eax = process; returns when somebody switches back
    mov ecx, [current]
    cmp eax, ecx
    je .stay
    push ebx
    push esi
    push edi
    push ebp
    mov [ecx + P_ESP], esp
    mov [current], eax
    mov esp, [eax + P_ESP]
    mov edx, [eax + P_CR3]
    mov cr3, edx
    mov edx, [eax + P_KERNEL_STACK]
    mov [tss + TSS_ESP0], edx
    pop ebp
    pop edi
    pop esi
    pop ebx
.stay:
    ret

end_process:                            ; eax = vector or ENDED_BY_EXIT, edx = code, ecx = address; does not return
    mov ebx, [current]
    mov [ebx + P_VECTOR], eax
    mov [ebx + P_CODE], edx
    mov [ebx + P_ADDRESS], ecx
    mov dword [ebx + P_STATE], STATE_ENDED
    inc dword [processes_ended]
    call free_user_pages                ; directory and kernel stack are in use: process 0 frees them
    jmp schedule
