; long-matrix: exceptions, gates, returns, system calls and paging of long mode, each tried and reported.
;
; A line a probe: its number; "ok" and RAX, or vector, error code, RIP less the probe's, CS, SS, RSP's low half, and CR2 of
; a page fault. Probes run at level 0, or at 3 where the table says so, and may change all registers.

.include "long_mode.asm"

USER_CODE_32 = 0x18 + 3                 ; in this order for SYSRET: 32-bit code, data, 64-bit code
USER_DATA = 0x20 + 3
USER_CODE = 0x28 + 3
CODE_32 = 0x30
CALL_GATE = 0x38                        ; 16 bytes
TASK = 0x48                             ; 16 bytes
NOT_PRESENT = 0x58
TASK_32_GATE = 0x60                     ; a descriptor that means nothing here
TASK_BYTES = 104
VECTORS = 32
LEAVE = 0x41                            ; by this INT user code comes back
GUARDED = 0x42                          ; a gate of level 0

IA32_STAR = 0xC0000081
IA32_LSTAR = 0xC0000082
IA32_SFMASK = 0xC0000084
IA32_FS_BASE = 0xC0000100
IA32_GS_BASE = 0xC0000101
IA32_KERNEL_GS_BASE = 0xC0000102
EFER_SCE_NXE = 0x801

; Pages of the probes: a table of 4 KiB pages for the first 2 MiB of the second GiB
WINDOW = 0x40000000
READ_ONLY = 0x40001000
USER_PAGE = 0x40002000
NO_EXECUTE = 0x40003000
RESERVED_BIT = 0x40004000
MISSING = 0x40005000
SUPERVISOR = 0x40006000
USER_STACK = 0x40008000

.section bss
.align 4096
window_directory:
    .space 4096
window_table:
    .space 4096
window_pages:
    .space 0x8000
idt:
    .space 4096
task:
    .space 128
interrupt_stack:
    .space 1024
interrupt_stack_top:
    .space 1024
second_stack_top:
    .space 1024
level_stack_top:
saved_rsp:
    .space 8
current:
    .space 8
number:
    .space 8
scratch:
    .space 64
.section text

.align 8
gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00AF9B00        ; 08: 64-bit code
    .long 0x0000FFFF, 0x00CF9300        ; 10: data
    .long 0x0000FFFF, 0x00CFFB00        ; 18: 32-bit code of level 3
    .long 0x0000FFFF, 0x00CFF300        ; 20: data of level 3
    .long 0x0000FFFF, 0x00AFFB00        ; 28: 64-bit code of level 3
    .long 0x0000FFFF, 0x00CF9B00        ; 30: 32-bit code
    .long 0, 0, 0, 0                    ; 38: call gate
    .long 0, 0, 0, 0                    ; 48: TSS
    .long 0x0000FFFF, 0x00CF1300        ; 58: data that is not present
    .long 0x0000FFFF, 0x00008900        ; 60: a TSS with a code segment behind it
    .long 0x0000FFFF, 0x00EF9B00        ; 68: code of 64 and of 32 bits
gdt_end:
gdt_register:
    .word gdt_end - gdt - 1
    .long gdt, 0
idt_register:
    .word 0xFFF
    .long idt, 0

.bits 64
; A gate: vector in eax, handler in rdx, its second half's low dword (type, DPL, IST) in ecx
set_gate:
    push rbx
    shl eax, 4
    lea rbx, [rax + idt]
    mov eax, edx
    and eax, 0xFFFF
    or eax, 0x80000
    mov [rbx], eax
    mov eax, edx
    and eax, 0xFFFF0000
    or eax, ecx
    mov [rbx + 4], eax
    mov qword [rbx + 8], 0
    pop rbx
    ret

wrmsr_pair:                             ; ecx = number, rdx = value
    mov eax, edx
    shr rdx, 32
    wrmsr
    ret

prepare:
    lgdt [gdt_register]
    lidt [idt_register]
    mov rax, window_directory + 7
    mov [pointer_table + 8], rax
    mov rax, window_table + 7
    mov [window_directory], rax
    mov rax, window_pages + 7
    mov rcx, window_table
.page:
    mov [rcx], rax
    add rcx, 8
    add rax, 4096
    cmp rcx, window_table + 64
    jne .page
    and dword [window_table + 8], 0xFFFFFFFD
    mov dword [window_table + 28], 0x80000000
    mov dword [window_table + 36], 0x80000
    and dword [window_table + 40], 0xFFFFFFFE
    and dword [window_table + 48], 0xFFFFFFFB
    or dword [top_table], 4
    or dword [pointer_table], 4
    or dword [directory], 4             ; our own code is the user's too
    mov rax, cr3
    mov cr3, rax
    ; TSS
    mov rax, level_stack_top
    mov [task + 4], rax
    mov rax, interrupt_stack_top
    mov [task + 36], rax
    mov rax, second_stack_top
    mov [task + 44], rax
    mov word [task + 102], TASK_BYTES
    mov eax, task
    shl eax, 16
    or eax, TASK_BYTES - 1
    mov [gdt + TASK], eax
    mov eax, task
    shr eax, 16
    or eax, 0x8900
    mov [gdt + TASK + 4], eax
    mov eax, TASK
    ltr ax
    ; call gate of level 3
    mov eax, through_gate
    and eax, 0xFFFF
    or eax, 0x80000
    mov [gdt + CALL_GATE], eax
    mov eax, through_gate
    and eax, 0xFFFF0000
    or eax, 0xEC00
    mov [gdt + CALL_GATE + 4], eax
    ; IDT
    xor ebx, ebx
    mov r12, stubs
.gate:
    mov eax, ebx
    mov rdx, r12
    mov ecx, 0x8E00
    cmp ebx, 8
    jne .not_df
    mov ecx, 0x8E01
.not_df:
    cmp ebx, 12
    jne .not_ss
    mov ecx, 0x8E02
.not_ss:
    cmp ebx, 3
    jne .not_bp
    mov ecx, 0xEE00
.not_bp:
    call set_gate
    add r12, 16
    inc ebx
    cmp ebx, VECTORS
    jne .gate
    mov eax, LEAVE
    mov rdx, leave_user
    mov ecx, 0xEE00
    call set_gate
    mov eax, GUARDED
    mov rdx, leave_user
    mov ecx, 0x8E00
    call set_gate
    mov ecx, IA32_EFER
    rdmsr
    or eax, EFER_SCE_NXE
    wrmsr
    mov ecx, IA32_STAR
    mov rdx, 0x001B000800000000
    call wrmsr_pair
    mov ecx, IA32_LSTAR
    mov rdx, system_call
    call wrmsr_pair
    mov ecx, IA32_SFMASK
    mov rdx, 0x700
    call wrmsr_pair
    ret

.align 16
.macro stub vector
    .align 16
    push 0
    push \vector
    jmp caught
.endm
.macro stub_with_error vector
    .align 16
    push \vector
    jmp caught
.endm
stubs:
    stub 0
    stub 1
    stub 2
    stub 3
    stub 4
    stub 5
    stub 6
    stub 7
    stub_with_error 8
    stub 9
    stub_with_error 10
    stub_with_error 11
    stub_with_error 12
    stub_with_error 13
    stub_with_error 14
    stub 15
    stub 16
    stub_with_error 17
    stub 18
    stub 19
    stub 20
    stub 21
    stub 22
    stub 23
    stub 24
    stub 25
    stub 26
    stub 27
    stub 28
    stub 29
    stub 30
    stub 31

.macro item text, value
    mov eax, .name_\@
    call put_string
    mov rax, \value
    call put_hex
    jmp .behind_\@
.name_\@:
    .byte \text, 0
.behind_\@:
.endm

; The frame: vector, error code, RIP, CS, RFLAGS, RSP, SS
caught:
    mov rbp, rsp
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    item " v=", [rbp]
    item " e=", [rbp + 8]
    mov rax, [rbp + 16]
    sub rax, [current]
    mov [scratch], rax
    item " ip=", [scratch]
    item " cs=", [rbp + 24]
    and dword [rbp + 32], 0xFFFEFFFF    ; RF, which QEMU does not push
    item " fl=", [rbp + 32]
    mov eax, [rbp + 40]
    mov [scratch], rax
    item " sp=", [scratch]
    item " ss=", [rbp + 48]
    mov [scratch], rsp
    item " at=", [scratch]
    cmp qword [rbp], 14
    jne next_probe
    mov rax, cr2
    mov [scratch], rax
    item " cr2=", [scratch]
    jmp next_probe

leave_user:
    mov rbp, rsp
    mov [scratch + 8], rax
    mov rax, [rbp + 8]                  ; CS
    mov [scratch + 16], rax
    item " left cs=", [scratch + 16]
    item " ss=", [rbp + 32]
    jmp succeeded

system_call:
    mov [scratch + 8], rax
    mov [scratch + 16], rcx
    mov [scratch + 24], r11
    mov rsp, level_stack_top
    mov ax, ss
    movzx eax, ax
    mov [scratch + 32], rax
    pushfq
    pop rax
    mov [scratch + 40], rax
    mov rax, [scratch + 16]
    sub rax, [current]
    mov [scratch + 16], rax
    item " syscall rcx=", [scratch + 16]
    item " r11=", [scratch + 24]
    item " ss=", [scratch + 32]
    item " fl=", [scratch + 40]
    jmp succeeded

through_gate:                           ; from level 3: RIP, CS, RSP, SS
    mov rbp, rsp
    mov [scratch + 8], rax
    mov ax, ss
    movzx eax, ax
    mov [scratch + 32], rax
    item " gate cs=", [rbp + 8]
    item " from ss=", [rbp + 24]
    item " ss=", [scratch + 32]
    jmp succeeded

long_main:
    call prepare
    print "long-matrix\n"
    mov qword [number], 0
    mov [saved_rsp], rsp
run_probe:
    mov rax, [number]
    mov r8, [rax * 8 + probes]
    test r8, r8
    jz all_done
    mov r9, r8
    shr r9, 63
    shl r8, 1
    shr r8, 1
    mov [current], r8
    call put_hex
    mov r8, [current]
    mov rax, [number]
    mov r9, [rax * 8 + probes]
    shr r9, 63
    jnz .user
    xor eax, eax
    call r8
    mov [scratch + 8], rax
    jmp succeeded
.user:
    mov rax, user_done
    mov [window_pages + 0x7FF8], rax
    xor eax, eax
    push USER_DATA
    mov rcx, USER_STACK - 8
    push rcx
    push 2
    push USER_CODE
    push r8
    iretq

user_done:
    int LEAVE

succeeded:
    item " ok ", [scratch + 8]
next_probe:
    call put_newline
    mov rsp, [saved_rsp]
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    push 2
    popfq
    xor eax, eax
    mov dr7, rax
    mov rax, cr3
    mov cr3, rax
    inc qword [number]
    jmp run_probe
all_done:
    mov rsp, [saved_rsp]
    print "result="
    mov rax, [number]
    call put_hex
    call put_newline
    ret

.include "long_probes.asm"
