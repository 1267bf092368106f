; Everything that can be wrong with a task: the second part of task-matrix.

METHODS = 4
JUMP = 0
CALL = 1
INTERRUPT = 2
RETURN = 3
OLD = 'o'
NEW = 'n'
DEFECT_NAME = 0                         ; fields of a defect
DEFECT_CODE = 4                         ; makes it: edi = TSS, edx = its descriptor
DEFECT_SELECTOR = 8                     ; what names the task
DEFECT_VECTOR = 12                      ; 0: of the switch; else of the exception
DEFECT_ERROR = 16
DEFECT_WHO = 20
DEFECT_BYTES = 24
OF_THE_SELECTOR = 0                     ; #GP, or #TS where IRET finds it

.macro defect text, code, selector, vector, error, who
    .long name_\@, \code, \selector, \vector, \error, \who
.section data
name_\@:
    .byte \text, 0
.section text
.endm

.align 4
all_defects:
    defect "null", no_defect, 0, OF_THE_SELECTOR, 0, OLD
    defect "beyond the GDT", no_defect, OUTSIDE_SELECTOR, OF_THE_SELECTOR, OUTSIDE_SELECTOR, OLD
    defect "an LDT", no_defect, LDT_SELECTOR, OF_THE_SELECTOR, LDT_SELECTOR, OLD
    defect "busy, or not", is_busy, FIRST_SELECTOR, OF_THE_SELECTOR, FIRST_SELECTOR, OLD
    defect "not present", is_absent, FIRST_SELECTOR, FAULT_NP, FIRST_SELECTOR, OLD
    defect "too small", is_small, FIRST_SELECTOR, FAULT_TS, FIRST_SELECTOR, OLD
    defect "LDT in the LDT", bad_ldt_local, FIRST_SELECTOR, FAULT_TS, LDT_SELECTOR + 4, NEW
    defect "LDT is a TSS", bad_ldt, FIRST_SELECTOR, FAULT_TS, TSS_SELECTOR, NEW
    defect "LDT not present", absent_ldt, FIRST_SELECTOR, FAULT_TS, ODD_SELECTOR, NEW
    defect "CS null", null_cs, FIRST_SELECTOR, FAULT_TS, 0, NEW
    defect "CS is data", data_cs, FIRST_SELECTOR, FAULT_TS, DATA_SELECTOR, NEW
    defect "CS of ring 3, RPL 0", outer_cs, FIRST_SELECTOR, FAULT_TS, 0x18, NEW
    defect "CS not present", absent_cs, FIRST_SELECTOR, FAULT_NP, ODD_SELECTOR, NEW
    defect "SS null", null_ss, FIRST_SELECTOR, FAULT_TS, 0, NEW
    defect "SS is code", code_ss, FIRST_SELECTOR, FAULT_TS, CODE_SELECTOR, NEW
    defect "SS of ring 3", outer_ss, FIRST_SELECTOR, FAULT_TS, 0x20, NEW
    defect "DS is a TSS", bad_ds, FIRST_SELECTOR, FAULT_TS, TSS_SELECTOR, NEW
    defect "DS beyond the GDT", outside_ds, FIRST_SELECTOR, FAULT_TS, OUTSIDE_SELECTOR, NEW
    defect "DS not present", absent_ds, FIRST_SELECTOR, FAULT_NP, ABSENT_SELECTOR, NEW
    defect "GS execute-only", unreadable_gs, FIRST_SELECTOR, FAULT_TS, ODD_SELECTOR, NEW
    defect "EIP beyond the limit", far_eip, FIRST_SELECTOR, FAULT_GP, 0, NEW
strict_defects:
    defect "in the LDT", no_defect, FIRST_SELECTOR + 4, OF_THE_SELECTOR, FIRST_SELECTOR + 4, OLD
    defect "SS not present", absent_ss, FIRST_SELECTOR, FAULT_SS, ODD_SELECTOR, NEW
all_defects_end:

defects:
    mov dword [last_defect], strict_defects
    mov eax, strict_option
    call find_option
    test eax, eax
    jz .start
    mov dword [last_defect], all_defects_end
.start:
    mov esi, all_defects
.defect:
    mov eax, [esi + DEFECT_NAME]
    call say_text
    mov dword [method], 0
.method:
    call one_defect
    inc dword [method]
    cmp dword [method], METHODS
    jne .method
    mov al, 10
    call say
    add esi, DEFECT_BYTES
    cmp esi, [last_defect]
    jne .defect
    ret

one_defect:                             ; esi = defect
    inc dword [probe_count]
    pushad
    mov dword [way], 0
    mov dword [first_format], AVAILABLE_32
    mov dword [second_format], AVAILABLE_32
    call make_tasks
    call make_fault_tasks
    cmp dword [method], RETURN
    jne .available
    or byte [table + FIRST_SELECTOR + 5], BUSY
.available:
    mov edi, first
    mov edx, table + FIRST_SELECTOR
    call dword [esi + DEFECT_CODE]
    mov ebx, [esi + DEFECT_SELECTOR]
    mov [far_selector], ebx
    mov [tss], bx
    mov eax, ebx
    shl eax, 16
    mov [idt + TASK_VECTOR * 8], eax
    mov [main_stack], esp
    mov eax, [method]
    jmp dword [methods + eax*4]
by_jump:
    ljmp [far_pointer]
by_call:
    lcall [far_pointer]
by_interrupt:
    int TASK_VECTOR
by_return:
    pushfd
    or dword [esp], FLAG_NT
    popfd
    iretd
methods:
    .long by_jump, by_call, by_interrupt, by_return

faulted:                                ; in a task of a fault: ebx = its vector, edi = its TSS
    mov [found_vector], ebx
    pop dword [found_error]
    mov dword [fault_who], OLD
    cmp word [edi], TSS_SELECTOR
    je .back
    mov dword [fault_who], NEW
.back:
    push FLAG_RESERVED
    popfd
    mov esp, [main_stack]
    call main_task
    popad
    mov al, ' '
    call say
    mov eax, [esi + DEFECT_VECTOR]
    test eax, eax
    jnz .expected
    mov eax, FAULT_GP
    cmp dword [method], RETURN
    jne .expected
    mov eax, FAULT_TS
.expected:
    cmp eax, [found_vector]
    jne .wrong
    mov eax, [found_error]
    cmp eax, [esi + DEFECT_ERROR]
    jne .wrong
    mov eax, [fault_who]
    cmp eax, [esi + DEFECT_WHO]
    je .tell
.wrong:
    inc dword [failures]
    mov al, '?'
    call say
.tell:
    mov eax, [found_vector]
    mov ecx, 2
    call say_hex_digits
    mov al, '.'
    call say
    mov eax, [found_error]
    mov ecx, 4
    call say_hex_digits
    mov al, [fault_who]
    jmp say

make_fault_tasks:
    push esi
    xor esi, esi
.task:
    mov edi, esi
    imul edi, edi, FAULT_TASK_BYTES
    add edi, fault_tasks
    push edi
    mov ecx, FAULT_TASK_BYTES / 4
    xor eax, eax
    rep stosd
    pop edi
    mov dword [edi + 32], faulted
    mov dword [edi + 36], FLAG_RESERVED
    lea eax, [esi + FAULT_TS]
    mov [edi + 52], eax
    mov dword [edi + 56], fault_stack_top
    mov [edi + 68], edi
    mov eax, DATA_SELECTOR
    mov [edi + 72], eax
    mov dword [edi + 76], CODE_SELECTOR
    mov [edi + 80], eax
    mov [edi + 84], eax
    mov dword [edi + 96], LDT_SELECTOR
    lea eax, [esi*8 + FAULT_TASK_SELECTOR]
    mov edx, edi
    mov ecx, TSS_BYTES - 1
    mov ebx, AVAILABLE_32
    call describe
    lea eax, [esi*8 + FAULT_TASK_SELECTOR]
    shl eax, 16
    mov [idt + esi*8 + FAULT_TS * 8], eax
    mov dword [idt + esi*8 + FAULT_TS * 8 + 4], 0x8500
    inc esi
    cmp esi, 4
    jne .task
    pop esi
    ret

is_busy:
    xor byte [edx + 5], BUSY
no_defect:
    ret
is_absent:
    and byte [edx + 5], 0x7F
    ret
is_small:
    mov word [edx], TSS_BYTES - 2
    ret
bad_ldt_local:
    mov dword [edi + 96], LDT_SELECTOR + 4
    ret
bad_ldt:
    mov dword [edi + 96], TSS_SELECTOR
    ret
absent_ldt:
    mov ebx, 0x0002
    mov dword [edi + 96], ODD_SELECTOR
    jmp describe_odd
null_cs:
    mov dword [edi + 76], 0
    ret
data_cs:
    mov dword [edi + 76], DATA_SELECTOR
    ret
outer_cs:
    mov dword [edi + 76], 0x18
    ret
absent_cs:
    mov dword [edi + 76], ODD_SELECTOR
    mov ebx, 0xC01A
    jmp describe_odd
null_ss:
    mov dword [edi + 80], 0
    ret
code_ss:
    mov dword [edi + 80], CODE_SELECTOR
    ret
outer_ss:
    mov dword [edi + 80], USER_DATA_SELECTOR
    ret
absent_ss:
    mov dword [edi + 80], ODD_SELECTOR
    mov ebx, 0xC012
    jmp describe_odd
bad_ds:
    mov dword [edi + 84], TSS_SELECTOR
    ret
outside_ds:
    mov dword [edi + 84], OUTSIDE_SELECTOR
    ret
absent_ds:
    mov dword [edi + 84], ABSENT_SELECTOR
    ret
unreadable_gs:
    mov dword [edi + 92], ODD_SELECTOR
    mov ebx, 0xC098
    jmp describe_odd
far_eip:
    mov dword [edi + 32], 0x10000
    ret
describe_odd:                           ; ebx = flags and access byte
    mov eax, ODD_SELECTOR
    xor edx, edx
    mov ecx, 0xFFFFF
    jmp describe

.section data
.align 4
far_pointer:
    .long 0
far_selector:
    .long 0
.section text
