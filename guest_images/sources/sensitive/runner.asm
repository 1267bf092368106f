; Runs one check: enters a snippet of code at a CPL, catches the fault or the value it leaves, compares, prints.

CHECK_NAME = 0                          ; fields of a check
CHECK_CPL = 4
CHECK_FLAGS = 8                         ; EFLAGS to start with
CHECK_CODE = 12
CHECK_INPUT = 16                        ; eax to start with
CHECK_VECTOR = 20                       ; NO_FAULT or the vector of the exception
CHECK_ERROR = 24
CHECK_VALUE = 28                        ; eax at the end, or the address of the fault
CHECK_BYTES = 32
NO_FAULT = 0x100
FLAG_RESERVED = 2
FLAG_IF = 0x200

.macro holds text, cpl, iopl, code, input, value
    .long name_\@, \cpl, \iopl << 12 | FLAG_IF | FLAG_RESERVED, \code, \input, NO_FAULT, 0, \value
.section data
name_\@:
    .byte \text, 0
.section text
.endm

.macro faults text, cpl, iopl, code, input, vector, error, offset
    .long name_\@, \cpl, \iopl << 12 | FLAG_IF | FLAG_RESERVED, \code, \input, \vector, \error, \code + \offset
.section data
name_\@:
    .byte \text, 0
.section text
.endm

run_check:                              ; esi = check -> eax = 1 if it holds, else 0
    pushad
    mov [saved_stack], esp
    call restore_state
    mov [current_check], esi
    mov eax, [esi + CHECK_INPUT]
    cmp dword [esi + CHECK_CPL], 0
    jne .outer
    mov esp, snippet_stack_top
    push dword [esi + CHECK_FLAGS]
    popfd
    jmp dword [esi + CHECK_CODE]
.outer:
    mov ecx, USER_DATA_SELECTOR
    mov ds, ecx
    mov es, ecx
    push ecx
    push snippet_stack_top
    push dword [esi + CHECK_FLAGS]
    push USER_CODE_SELECTOR
    push dword [esi + CHECK_CODE]
    iretd

leave_check:                            ; the gate every snippet ends with: eax = its value
    mov ecx, NO_FAULT
    xor edx, edx
    jmp finish

fault_during_check:                     ; from the exception stubs: vector, error code, EIP
    pop ecx
    pop edx
    pop eax
finish:                                 ; ecx = vector, edx = error code, eax = value or address
    mov ebx, DATA_SELECTOR
    mov ds, ebx
    mov es, ebx
    mov fs, ebx
    mov gs, ebx
    mov ss, ebx
    mov esp, [saved_stack]
    mov esi, [current_check]
    mov [found_vector], ecx
    mov [found_error], edx
    mov [found_value], eax
    print "cpl"
    mov eax, [esi + CHECK_CPL]
    call put_decimal
    print " iopl"
    mov eax, [esi + CHECK_FLAGS]
    shr eax, 12
    call put_decimal
    mov eax, ' '
    call put_char
    mov eax, [esi + CHECK_NAME]
    call put_string
    mov eax, [found_vector]
    cmp eax, [esi + CHECK_VECTOR]
    jne .wrong
    mov eax, [found_error]
    cmp eax, [esi + CHECK_ERROR]
    jne .wrong
    mov eax, [found_value]
    cmp eax, [esi + CHECK_VALUE]
    jne .wrong
    print ": ok\n"
    popad
    mov eax, 1
    ret
.wrong:
    print ": WRONG, expected vector, error code, value or address"
    lea ebx, [esi + CHECK_VECTOR]
    call .put_triple
    print ", found"
    mov ebx, found_vector
    call .put_triple
    call put_newline
    popad
    xor eax, eax
    ret
.put_triple:
    mov edi, 3
.field:
    mov eax, ' '
    call put_char
    mov eax, [ebx]
    call put_hex
    add ebx, 4
    dec edi
    jnz .field
    ret

.section bss
current_check:
    .space 4
saved_stack:
    .space 4
found_vector:
    .space 4
found_error:
    .space 4
found_value:
    .space 4
scratch:
    .space 16
.align 16
    .space 1024
ring0_stack_top:
    .space 1024
snippet_stack_top:
    .space 16
.section text
