; task-matrix: task switches by jump, call, interrupt and IRET, 16- and 32-bit TSS, then everything that can be wrong.
;
; First part: a task T1 goes to a task T2 in one of five ways and T2 comes back, for both formats of each. Reported are
; what T2, then T1, then the main task find: TR, "n" for NT, the back link, "t" for CR0.TS, busy bits of main, T1, T2, and
; "!" if registers are not what the TSS or the task itself left in them.
; Second part: a line a defect of the TSS or of what it holds; for JMP, CALL, INT through a task gate and IRET vector,
; error code, and whether the fault came in the old ("o") or in the new task ("n"). All faults go to a task of their own.
; Third part: what a task brings along, a line each with three words that the task or the handler of its exception left
; (task-visits.asm).
; With strict=on also what QEMU's emulator does otherwise (guest_images/README.md). "?" marks what differs from the tables.
; result = hash of the transcript, ops = switches tried. SDM vol. 3A 7.2, 7.3.

default_n = 1

.include "platform.asm"
.include "interrupts.asm"
.include "probe.asm"
.include "task-visits.asm"

FIRST_SELECTOR = SPARE_SELECTOR         ; T1; the task with a defect in the second part
SECOND_SELECTOR = SPARE_2_SELECTOR      ; T2
GATE_SELECTOR = SPARE_3_SELECTOR        ; a task gate to it
TASK_CODE_SELECTOR = STUB_CODE_SELECTOR ; the tasks' code at offset 0, so that 16 bits of EIP will do
TASK_STACK_SELECTOR = 0x60
ODD_SELECTOR = 0x68                     ; a descriptor that is to be wrong
FAULT_TASK_SELECTOR = 0x70              ; and three more behind it
FAULT_TASK_BYTES = 112
TASK_VECTOR = 0x60
AVAILABLE_16 = 0x81
AVAILABLE_32 = 0x89
BUSY = 2
FLAG_TS = 8
RECORD_BYTES = 16
RECORD_TR = 0
RECORD_LINK = 4
RECORD_FLAGS = 8                        ; 1 NT, 2 TS, 4 registers as they should be
RECORD_BUSY = 12                        ; bits 0 to 2: main, T1, T2
WAYS = 5
FAULT_TS = 10
FAULT_NP = 11
FAULT_SS = 12
FAULT_GP = 13

guest_name:
    .byte "task-matrix", 0
strict_option:
    .byte "strict=on", 0

.section bss
.align 16
first:
    .space TSS_BYTES
.align 16
second:
    .space TSS_BYTES
.align 16
fault_tasks:                            ; for #TS, #NP, #SS and #GP
    .space FAULT_TASK_BYTES * 4
    .space 512
fault_stack_top:
    .space 1024
first_stack:                            ; 64 KiB segments begin here
    .space 512
first_stack_top:
    .space 512
second_stack_top:
    .space 512
records:
    .space RECORD_BYTES * 4
next_record:
    .space 4
way:
    .space 4
first_format:                           ; access bytes
    .space 4
second_format:
    .space 4
method:
    .space 4
main_stack:
    .space 4
fault_who:
    .space 4
failures:
    .space 4
last_defect:
    .space 4
.section text

main:
    pushad
    call probes_init
    call describe_all
    call transfers
    call defects
    call visit_all
    cmp dword [failures], 0
    jne exit_failed
    mov eax, [hash]
    mov edx, [probe_count]
    mov [esp + 28], eax
    mov [esp + 20], edx
    popad
    ret

describe_all:
    mov eax, TASK_CODE_SELECTOR
    mov edx, task_code
    mov ecx, 0xFFFF
    mov ebx, 0x409A
    call describe
    mov eax, TASK_STACK_SELECTOR
    mov edx, first_stack
    mov ebx, 0x0092
    jmp describe

; -- first part --------------------------------------------------------------------------------------------------------

transfers:
    mov dword [way], 0
.way:
    mov dword [first_format], AVAILABLE_32
    call both
    mov dword [first_format], AVAILABLE_16
    call both
    inc dword [way]
    cmp dword [way], WAYS
    jne .way
    ret

both:
    mov dword [second_format], AVAILABLE_32
    call transfer
    mov dword [second_format], AVAILABLE_16
transfer:
    inc dword [probe_count]
    mov eax, [way]
    mov eax, [way_names + eax*4]
    call say_text
    mov eax, [first_format]
    call say_format
    mov eax, [second_format]
    call say_format
    call make_tasks
    mov dword [next_record], records
    clts
    mov ebp, 0x5A5A5A5A
    lcall [to_first]
    mov eax, ebp
    mov ebx, 0x5A5A5A5A
    call make_record
    mov esi, records
    mov ecx, 3
.record:
    call say_record
    add esi, RECORD_BYTES
    dec ecx
    jnz .record
    mov al, 10
    jmp say

say_format:                             ; eax = access byte
    cmp eax, AVAILABLE_16
    je .short
    tell " 32"
    ret
.short:
    tell " 16"
    ret

say_record:                             ; esi = record; ecx stays
    push ecx
    tell " | "
    mov eax, [esi + RECORD_TR]
    mov ecx, 2
    call say_hex_digits
    mov al, 'n'
    mov ecx, 1
    call .flag
    mov al, ' '
    call say
    mov eax, [esi + RECORD_LINK]
    mov ecx, 2
    call say_hex_digits
    mov al, 't'
    mov ecx, 2
    call .flag
    mov al, ' '
    call say
    mov eax, [esi + RECORD_BUSY]
    mov ecx, 1
    call say_hex_digits
    test dword [esi + RECORD_FLAGS], 4
    jnz .done
    inc dword [failures]
    mov al, '!'
    call say
.done:
    pop ecx
    ret
.flag:                                  ; al = letter, ecx = bit of the flags
    test [esi + RECORD_FLAGS], ecx
    jnz say
    mov al, '-'
    jmp say

make_tasks:                             ; T1 and T2 as new; ours in TR, never called
    mov edi, first
    mov eax, [first_format]
    mov ecx, first_entry - task_code
    mov edx, first_stack_top - first_stack
    call make_task
    mov edi, second
    mov eax, [second_format]
    mov ecx, second_entry - task_code
    mov edx, second_stack_top - first_stack
    call make_task
    mov eax, FIRST_SELECTOR
    mov edx, first
    mov ecx, TSS_BYTES - 1
    mov ebx, [first_format]
    call describe
    mov eax, SECOND_SELECTOR
    mov edx, second
    mov ebx, [second_format]
    call describe
    mov eax, GATE_SELECTOR
    mov ebx, SECOND_SELECTOR
    call task_gate
    mov dword [idt + TASK_VECTOR * 8], SECOND_SELECTOR << 16
    mov dword [idt + TASK_VECTOR * 8 + 4], 0x8500
main_task:
    mov word [tss], 0
    mov eax, TSS_SELECTOR
    mov edx, tss
    mov ecx, TSS_BYTES - 1
    mov ebx, AVAILABLE_32
    call describe
    mov eax, TSS_SELECTOR
    ltr ax
    ret

task_gate:                              ; eax = selector of the gate, ebx = selector of the TSS
    shl ebx, 16
    mov [table + eax], ebx
    mov dword [table + eax + 4], 0x8500
    ret

make_task:                              ; edi = TSS, eax = access byte, ecx = EIP, edx = ESP
    push esi
    mov esi, edi
    push eax
    push ecx
    mov ecx, TSS_BYTES / 4
    xor eax, eax
    rep stosd
    pop ecx
    pop eax
    cmp eax, AVAILABLE_16
    je .short
    mov [esi + 32], ecx
    mov dword [esi + 36], FLAG_RESERVED
    mov dword [esi + 40], 0x11110000    ; eax ecx edx ebx, ebp esi edi
    mov dword [esi + 44], 0x22221111
    mov dword [esi + 48], 0x33332222
    mov dword [esi + 52], 0x44443333
    mov [esi + 56], edx
    mov dword [esi + 60], 0x55554444
    mov dword [esi + 64], 0x66665555
    mov dword [esi + 68], 0x77776666
    mov eax, DATA_SELECTOR
    mov [esi + 72], eax
    mov dword [esi + 76], TASK_CODE_SELECTOR
    mov dword [esi + 80], TASK_STACK_SELECTOR
    mov [esi + 84], eax
    mov [esi + 88], eax
    mov [esi + 92], eax
    mov dword [esi + 96], LDT_SELECTOR
    pop esi
    ret
.short:
    mov [esi + 14], ecx                 ; IP, and zero for FLAGS: bit 1 is set whatever is loaded
    mov dword [esi + 18], 0x11110000    ; ax cx, dx bx, sp bp, si di
    mov dword [esi + 22], 0x33332222
    mov [esi + 26], edx
    mov word [esi + 28], 0x4444
    mov dword [esi + 30], 0x66665555
    mov dword [esi + 34], (TASK_CODE_SELECTOR << 16) + DATA_SELECTOR
    mov dword [esi + 38], (DATA_SELECTOR << 16) + TASK_STACK_SELECTOR
    mov dword [esi + 42], LDT_SELECTOR
    pop esi
    ret

way_names:
    .long jump_name, jump_gate_name, call_name, call_gate_name, interrupt_name
jump_name:
    .byte "jmp TSS ", 0
jump_gate_name:
    .byte "jmp gate", 0
call_name:
    .byte "call TSS", 0
call_gate_name:
    .byte "call gate", 0
interrupt_name:
    .byte "int     ", 0

.section data
.align 4
to_first:
    .long 0, FIRST_SELECTOR
to_second:
    .long 0, SECOND_SELECTOR
to_gate:
    .long 0, GATE_SELECTOR
.section text

; -- the tasks' code: reached by selector, at offset 0, so that nothing outside it may be called ------------------------

.align 16
task_code:

make_record:                            ; eax and ebx must be equal
    push ecx
    push edx
    mov edx, [next_record]
    add dword [next_record], RECORD_BYTES
    xor ecx, ecx
    cmp eax, ebx
    jne .registers
    mov ecx, 4
.registers:
    pushfd
    pop eax
    test eax, FLAG_NT
    jz .not_nested
    or ecx, 1
.not_nested:
    mov eax, cr0
    test eax, FLAG_TS
    jz .no_ts
    or ecx, 2
.no_ts:
    mov [edx + RECORD_FLAGS], ecx
    str eax
    movzx eax, ax
    mov [edx + RECORD_TR], eax
    mov ecx, tss
    cmp eax, TSS_SELECTOR
    je .link
    mov ecx, first
    cmp eax, FIRST_SELECTOR
    je .link
    mov ecx, second
.link:
    movzx eax, word [ecx]
    mov [edx + RECORD_LINK], eax
    xor eax, eax
    test byte [table + TSS_SELECTOR + 5], BUSY
    jz .main_free
    or eax, 1
.main_free:
    test byte [table + FIRST_SELECTOR + 5], BUSY
    jz .first_free
    or eax, 2
.first_free:
    test byte [table + SECOND_SELECTOR + 5], BUSY
    jz .second_free
    or eax, 4
.second_free:
    mov [edx + RECORD_BUSY], eax
    pop edx
    pop ecx
    ret

first_entry:
    mov ebx, 0x0BAD0BAD
    mov ecx, [way]
    cmp ecx, 1
    jb .jump
    je .jump_gate
    cmp ecx, 3
    jb .call
    je .call_gate
    int TASK_VECTOR
    jmp .back
.jump:
    ljmp [to_second]
    jmp .back
.jump_gate:
    ljmp [to_gate]
    jmp .back
.call:
    lcall [to_second]
    jmp .back
.call_gate:
    lcall [to_gate]
.back:
    movzx eax, bx                       ; a 16-bit TSS keeps no more
    mov ebx, 0x0BAD
    call make_record
    iretd
    jmp first_entry

second_entry:
    add ax, cx                          ; 0 + 1111h
    add ax, dx
    add ax, bx
    add ax, bp
    add ax, si
    add ax, di
    movzx eax, ax
    mov ebx, 0x6665                     ; 1111h * (1 + ... + 6), 16 bits
    call make_record
    pushfd
    pop eax
    test eax, FLAG_NT
    jz .not_nested
    iretd
.not_nested:
    ljmp [to_first]

.include "task-defects.asm"
