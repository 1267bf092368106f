; nano-syscall: system calls from ring 3 and back, n times: via=int80 (default: INT 80h, IRET) or via=sysenter.
;
; The kernel's side only counts. result = calls counted by the kernel, ops = n. Self-check: they agree.

default_n = 20000
SYSCALL_VECTOR = 0x80
LEAVE_VECTOR = 0x81                     ; brings the guest back to ring 0 for good
IA32_SYSENTER_CS = 0x174
IA32_SYSENTER_ESP = 0x175
IA32_SYSENTER_EIP = 0x176
CPUID_SEP = 0x800                       ; CPUID.1:EDX, SYSENTER present

.include "platform.asm"
.include "interrupts.asm"
.include "ring3.asm"

guest_name:
    .byte "nano-syscall", 0
via_option:
    .byte "via=", 0

main:                                   ; ebx = operations, esi = user code
    pushad
    mov ebx, eax
    mov [saved_stack], esp
    mov dword [calls], 0
    call interrupts_init
    mov eax, ring0_stack_top
    call tss_init
    mov eax, SYSCALL_VECTOR
    mov edx, int80_entry
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov eax, LEAVE_VECTOR
    mov edx, leave_entry
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov esi, user_int80
    mov eax, via_option
    call find_option
    test eax, eax
    jz .enter
    cmp byte [eax], 's'
    jne .enter
    mov esi, user_sysenter
    push ebx
    mov eax, 1
    cpuid
    pop ebx
    test edx, CPUID_SEP
    jz exit_failed
    xor edx, edx
    mov eax, CODE_SELECTOR
    mov ecx, IA32_SYSENTER_CS
    wrmsr
    mov eax, ring0_stack_top
    mov ecx, IA32_SYSENTER_ESP
    wrmsr
    mov eax, sysenter_entry
    mov ecx, IA32_SYSENTER_EIP
    wrmsr
.enter:
    mov eax, esi
    jmp enter_ring_3

leave_entry:
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov esp, [saved_stack]
    popad
    mov edx, eax                        ; main was called with eax = n
    mov eax, [calls]
    cmp eax, edx
    jne exit_failed
    ret

int80_entry:
    inc dword [calls]
    iretd

sysenter_entry:                         ; ecx = user stack, edx = where to go on
    inc dword [calls]
    sysexit

user_int80:                             ; ring 3 from here; ebx = operations left
    test ebx, ebx
    jz user_leave
.next:
    int SYSCALL_VECTOR
    dec ebx
    jnz .next
user_leave:
    int LEAVE_VECTOR

user_sysenter:
    test ebx, ebx
    jz user_leave
    mov ecx, esp
    mov edx, .after
.next:
    sysenter
.after:
    dec ebx
    jnz .next
    jmp user_leave

.section bss
calls:
    .space 4
saved_stack:
    .space 4
