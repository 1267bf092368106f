; smc: self-modifying code in twelve shapes, n times each; every result is checked.
;
; Paging is on. Stores and execution use the same linear address, where Pentium and later processors need no help; only
; the checks through a second mapping serialise with CPUID, as the SDM demands (vol. 3A, 9.1.3).
; result: sum of the passes that came out right. ops = all passes. One line a check; any failure fails the guest.

default_n = 100

.include "platform.asm"
.include "paging.asm"
.include "interrupts.asm"
.include "patch.asm"
.include "pages.asm"
.include "mapping.asm"

guest_name:
    .byte "smc", 0

.align 4
checks:                                 ; each takes eax = n and returns eax = passes that came out right
    .long patched_function, name_function
    .long patched_loop, name_loop
    .long patched_opcode, name_opcode
    .long next_instruction, name_next
    .long string_store_ahead, name_string
    .long rewrites_itself, name_itself
    .long data_on_code_page, name_data
    .long stack_on_code_page, name_stack
    .long across_pages, name_across
    .long reused_buffer, name_buffer
    .long second_mapping, name_mapping
    .long remapped_page, name_remapped
checks_end:
name_function:
    .byte "immediate of a function", 0
name_loop:
    .byte "immediate in a hot loop", 0
name_opcode:
    .byte "opcode", 0
name_next:
    .byte "next instruction", 0
name_string:
    .byte "rep stosb into the code that follows", 0
name_itself:
    .byte "instruction that rewrites itself", 0
name_data:
    .byte "data on a code page", 0
name_stack:
    .byte "stack on a code page", 0
name_across:
    .byte "instruction across two pages", 0
name_buffer:
    .byte "code buffer used again", 0
name_mapping:
    .byte "code changed through another mapping", 0
name_remapped:
    .byte "code page remapped", 0

main:                                   ; ebx = n, esi = check, edi = passes that came out right, ebp = all passes
    pushad
    mov ebx, eax
    test eax, eax
    jz exit_failed                      ; the loops count down to zero
    call interrupts_init
    call paging_init
    mov esi, checks
    xor edi, edi
    xor ebp, ebp
.check:
    mov eax, [esi + 4]
    call put_string
    mov eax, ebx
    call [esi]
    add edi, eax
    add ebp, ebx
    cmp eax, ebx
    je .right
    print ": WRONG, right passes: "
    call put_decimal_of_last
    jmp .next
.right:
    print ": ok"
.next:
    call put_newline
    add esi, 8
    cmp esi, checks_end
    jne .check
    cmp edi, ebp
    jne exit_failed
    mov [esp + 28], edi                 ; eax and edx as POPAD will load them
    mov [esp + 20], ebp
    popad
    ret

put_decimal_of_last:                    ; repeats the check to tell how often it is right
    mov eax, ebx
    call [esi]
    jmp put_decimal
