; real-mode-matrix: what instructions do in real mode, entered from protected mode and left again for each, one line a
; snippet.
;
; A line has the interrupt that ended the snippet (UD2 raises 6, if nothing else), where, and what it pushed and changed.
; With accesses=on also accesses beyond segment limits, which QEMU's emulator lets pass, and SGDT with a 16-bit operand.
; result = ops = snippets run.

default_n = 1

.include "platform.asm"
.include "report.asm"
.include "snippets.asm"

guest_name:
    .byte "real-mode-matrix", 0
accesses_option:
    .byte "accesses=on", 0

main:
    pushad
    call real_init
    mov ebx, snippets_end
    mov eax, accesses_option
    call find_option
    test eax, eax
    jz .no_accesses
    mov ebx, access_snippets_end
.no_accesses:
    xor edi, edi                        ; edi = snippets run
    mov esi, snippets
.next:
    call run_snippet
    inc edi
    add esi, SNIPPET_BYTES
    cmp esi, ebx
    jne .next
    mov [esp + 28], edi                 ; eax and edx as POPAD will load them
    mov [esp + 20], edi
    popad
    ret
