; Ring 3 has a stack, and ring 0 one for entries from there.

enter_ring_3:                           ; eax = where; does not return
    mov ecx, USER_DATA_SELECTOR
    mov ds, ecx
    mov es, ecx
    push USER_DATA_SELECTOR
    push user_stack_top
    pushfd
    push USER_CODE_SELECTOR
    push eax
    iretd

.section bss
.align 16
    .space 4096
ring0_stack_top:
    .space 4096
user_stack_top:
    .space 16
.section text
