; What a task brings along: the third part of task-matrix. The main task calls a task that looks about and comes back by
; IRET, or is stopped by an exception whose handler, still in that task, does so for it.

VISIT_NAME = 0                          ; fields of a visit
VISIT_SETUP = 4                         ; changes the TSS: edi
VISIT_ENTRY = 8
VISIT_SEEN = 12                         ; what it is to leave in `seen`
VISIT_BYTES = 24
BIT_MAP_BYTES = 0x12
PORT = 0x80
TSS_EFLAGS = 36
TSS_ESP = 56
TSS_CS = 76
TSS_SS = 80
TSS_DS = 84
TSS_LDT = 96
TSS_TRAP = 100
TSS_CR3 = 28
FLAG_VM = 0x20000
FLAG_RF = 0x10000
PROGRAM_SEGMENT = 0x9000                ; real-mode segment of the program in virtual-8086 mode
WINDOW = 0x00800000                     ; what the two address spaces map differently
CR0_PG = 0x80000000
CR4_PSE = 0x10
PTE_LARGE = 0x83                        ; present, writable, 4 MiB
FAULT_DB = 1
NOT_SEEN = 0xFFFFFFFF

.macro visit text, setup, entry, seen0, seen1, seen2
    .long name_\@, \setup, \entry, \seen0, \seen1, \seen2
.section data
name_\@:
    .byte \text, 0
.section text
.endm

.align 4
visits:
    visit "LDT and DS of it", own_ldt, look_at_ldt, 0xC0DE0001, ODD_SELECTOR, 4
    visit "CR3 without paging", other_cr3, look_at_cr3, 0, NOT_SEEN, NOT_SEEN
    visit "CR3 with paging", own_pages, look_at_window, 0x22222222, 0x11111111, NOT_SEEN
    visit "ring 3", outer_ring, look_at_ring, USER_CODE_SELECTOR, 0x30, 0
    visit "virtual-8086 mode", virtual_8086, 0, FAULT_GP, 0, FLAG_VM
    visit "port open", open_port, use_port, PORT, 0x30, 0
    visit "port closed", closed_port, use_port, FAULT_GP, 0, 0
    visit "bit map beyond the limit", no_bit_map, use_port, FAULT_GP, 0, 0
    visit "second byte beyond the limit", short_bit_map, use_port, FAULT_GP, 0, 0
    visit "local breakpoints", local_breakpoints, look_at_dr7, 0x6AA, NOT_SEEN, NOT_SEEN
    visit "breakpoint, RF clear", breakpoint_at_entry, look_at_dr7, FAULT_DB, 0, 1
    visit "breakpoint, RF set", breakpoint_and_rf, look_at_dr7, 0x402, NOT_SEEN, NOT_SEEN
strict_visits:
    visit "conforming code at ring 3", outer_ring_conforming, look_at_ring, ODD_SELECTOR + 3, 0x30, 0
    visit "debug trap", debug_trap, look_at_dr7, FAULT_DB, 0, 0x8000
visits_end:

.section bss
.align 4096
main_directory:
    .space 4096
task_directory:
    .space 4096
.align 16
wide_task:                              ; a TSS with a bit map
    .space TSS_BYTES + BIT_MAP_BYTES
.align 16
inner_stack:
    .space 512
inner_stack_top:
task_table:                             ; the visitor's LDT
    .space 8
seen:
    .space 12
visit_entry:
    .space 4
.section text

visit_all:
    mov dword [last_defect], strict_visits
    mov eax, strict_option
    call find_option
    test eax, eax
    jz .start
    mov dword [last_defect], visits_end
.start:
    mov esi, visits
.visit:
    call one_visit
    add esi, VISIT_BYTES
    cmp esi, [last_defect]
    jne .visit
    ret

one_visit:                              ; esi = visit
    inc dword [probe_count]
    call interrupts_init
    mov dword [exception_hook], visit_fault
    mov eax, LEAVE_GATE
    mov edx, visit_left
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov dword [first_format], AVAILABLE_32
    mov dword [second_format], AVAILABLE_32
    call make_tasks
    mov eax, -1
    mov edi, seen
    mov ecx, 3
    rep stosd
    mov edi, first
    mov eax, [esi + VISIT_ENTRY]
    mov [visit_entry], eax
    mov [edi + 32], eax
    mov dword [edi + TSS_CS], CODE_SELECTOR
    mov dword [edi + TSS_SS], DATA_SELECTOR
    mov dword [edi + TSS_ESP], second_stack_top
    mov dword [edi + TSS_ESP0], inner_stack_top
    mov dword [edi + TSS_SS0], DATA_SELECTOR
    call dword [esi + VISIT_SETUP]
    lcall [to_first]
    clts
    mov eax, 0x400
    mov dr7, eax
    mov eax, cr0
    test eax, CR0_PG
    jz .unpaged
    mov edx, [WINDOW]
    mov [seen + 4], edx
    and eax, 0x7FFFFFFF
    mov cr0, eax
.unpaged:
    mov eax, [esi + VISIT_NAME]
    call say_text
    xor edi, edi
.value:
    mov al, ' '
    call say
    mov eax, [seen + edi*4]
    cmp eax, [esi + edi*4 + VISIT_SEEN]
    je .right
    inc dword [failures]
    mov al, '?'
    call say
.right:
    mov eax, [seen + edi*4]
    mov ecx, 8
    call say_hex_digits
    inc edi
    cmp edi, 3
    jne .value
    mov al, 10
    jmp say

visit_left:                             ; by LEAVE_GATE: how much of the inner stack is in use
    lea eax, [esp - inner_stack_top]
    neg eax
    mov [seen + 4], eax
    mov dword [seen + 8], 0
    cmp eax, 20
    jne back_to_main
    mov dword [seen + 4], 0x30          ; a frame with a change of stacks
back_to_main:
    pushfd
    or dword [esp], FLAG_NT
    popfd
    iretd

visit_fault:                            ; vector, error code (0 if there is none), frame
    pop dword [seen]
    pop eax
    shl eax, 16
    or [seen], eax
    pop eax
    sub eax, [visit_entry]
    mov [seen + 4], eax
    mov eax, [esp + 4]
    and eax, FLAG_VM
    cmp dword [seen], FAULT_DB
    jne .flags
    mov eax, dr6
    and eax, 0xE00F
    xor ecx, ecx
    mov dr6, ecx
.flags:
    mov [seen + 8], eax
    jmp back_to_main

program_fault:                          ; #GP in virtual-8086 mode: DS is null
    push FAULT_GP
    mov eax, DATA_SELECTOR
    mov ds, eax
    jmp visit_fault

; -- setups: edi = the visitor's TSS -----------------------------------------------------------------------------------

own_ldt:
    mov eax, ODD_SELECTOR
    mov edx, task_table
    mov ecx, 7
    mov ebx, 0x0082
    call describe
    mov dword [task_table], 0x0000FFFF  ; data from ldt_data on: the base is of 24 bits
    mov eax, ldt_data
    shl eax, 16
    mov ax, 0xFFFF
    mov [task_table], eax
    mov eax, ldt_data
    shr eax, 16
    and eax, 0xFF
    or eax, 0x00409200
    mov [task_table + 4], eax
    mov dword [edi + TSS_LDT], ODD_SELECTOR
    mov dword [edi + TSS_DS], 4
    ret
other_cr3:
    mov dword [edi + TSS_CR3], 0x00ABC000
    ret
own_pages:                              ; the same but for WINDOW
    mov dword [WINDOW], 0x11111111
    mov dword [WINDOW + 0x400000], 0x22222222
    mov eax, cr4
    or eax, CR4_PSE
    mov cr4, eax
    xor edx, edx
.page:
    mov eax, edx
    shl eax, 22
    or eax, PTE_LARGE
    mov [main_directory + edx*4], eax
    mov [task_directory + edx*4], eax
    inc edx
    cmp edx, 5
    jne .page
    mov dword [task_directory + (WINDOW >> 22)*4], WINDOW + 0x400000 + PTE_LARGE
    mov dword [edi + TSS_CR3], task_directory
    mov dword [tss + TSS_CR3], main_directory
    mov eax, main_directory
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    ret
outer_ring_conforming:
    mov eax, ODD_SELECTOR
    xor edx, edx
    mov ecx, 0xFFFFF
    mov ebx, 0xC09E
    call describe
    call outer_ring
    mov dword [edi + TSS_CS], ODD_SELECTOR + 3
    ret
outer_ring:
    mov dword [edi + TSS_CS], USER_CODE_SELECTOR
    mov dword [edi + TSS_SS], USER_DATA_SELECTOR
    mov dword [edi + TSS_DS], USER_DATA_SELECTOR
    mov dword [edi + 72], USER_DATA_SELECTOR
    mov dword [edi + 88], 0
    mov dword [edi + 92], 0
    ret
virtual_8086:
    mov eax, FAULT_GP
    mov edx, program_fault
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov byte [PROGRAM_SEGMENT * 16], 0xFA       ; CLI, which IOPL 0 forbids
    mov dword [edi + TSS_EFLAGS], FLAG_VM + FLAG_RESERVED
    mov dword [edi + TSS_CS], PROGRAM_SEGMENT
    mov dword [edi + TSS_SS], PROGRAM_SEGMENT
    mov dword [edi + TSS_DS], 0x1234
    mov dword [edi + TSS_ESP], 0xFF00
    mov dword [edi + TSS_LDT], 0
    ret

open_port:
    call bit_map
    and byte [wide_task + TSS_BYTES + (PORT >> 3)], 0xFE
    ret
closed_port:
bit_map:                                ; everything closed; the task at ring 3
    call outer_ring
    mov ecx, TSS_BYTES
    push esi
    mov esi, edi
    mov edi, wide_task
    rep movsb
    pop esi
    mov ecx, BIT_MAP_BYTES
    mov al, 0xFF
    rep stosb
    mov word [wide_task + TSS_IO_MAP_BASE], TSS_BYTES
    mov ecx, TSS_BYTES + BIT_MAP_BYTES - 1
describe_wide_task:                     ; ecx = limit
    mov eax, FIRST_SELECTOR
    mov edx, wide_task
    mov ebx, AVAILABLE_32
    jmp describe
no_bit_map:
    call open_port
    mov ecx, TSS_BYTES - 1
    jmp describe_wide_task
short_bit_map:                          ; two bytes are read whatever the size of the access
    call open_port
    mov ecx, TSS_BYTES + (PORT >> 3)
    jmp describe_wide_task

local_breakpoints:
    mov eax, 0x6FF
    mov dr7, eax
    xor eax, eax
    mov dr0, eax
    mov dr1, eax
    mov dr2, eax
    mov dr3, eax
    ret
breakpoint_and_rf:
    or dword [edi + TSS_EFLAGS], FLAG_RF
breakpoint_at_entry:
    mov eax, [visit_entry]
    mov dr0, eax
    mov eax, 0x402
    mov dr7, eax
    ret
debug_trap:
    mov word [edi + TSS_TRAP], 1
    ret

; -- what visitors do --------------------------------------------------------------------------------------------------

look_at_ldt:
    mov eax, [0]
    mov ss:[seen], eax
    sldt eax
    mov ss:[seen + 4], eax
    mov eax, ds
    mov ss:[seen + 8], eax
    iretd
look_at_cr3:
    mov eax, cr3
    mov [seen], eax
    iretd
look_at_window:
    mov eax, [WINDOW]
    mov [seen], eax
    iretd
look_at_dr7:
    mov eax, dr7
    mov [seen], eax
    iretd
look_at_ring:
    mov eax, cs
    mov [seen], eax
    int LEAVE_GATE
use_port:
    in al, PORT
    mov dword [seen], PORT
    int LEAVE_GATE

.section data
.align 4
ldt_data:
    .long 0xC0DE0001
.section text
