; v86-matrix: what sensitive and other instructions do in virtual-8086 mode, for IOPL 0 and 3, one line a snippet.
;
; A line has the exception that ended the snippet (UD2 does, if nothing else), where, and what the processor pushed and
; changed. With vme=on CR4.VME is set: virtual interrupt flag, and INT 0x60 redirected to the vector table. With
; accesses=on also accesses beyond segment limits, which QEMU's emulator lets pass.
; result = ops = snippets run. A segment register that is not null in the handler fails the guest.

default_n = 1

.include "platform.asm"
.include "interrupts.asm"
.include "report.asm"
.include "snippets.asm"

guest_name:
    .byte "v86-matrix", 0
vme_option:
    .byte "vme=on", 0
accesses_option:
    .byte "accesses=on", 0

CR4_VME = 1

main:
    pushad
    call interrupts_init
    call v86_init
    mov eax, vme_option
    call find_option
    test eax, eax
    jz .no_vme
    mov eax, cr4
    or eax, CR4_VME
    mov cr4, eax
.no_vme:
    mov ebx, snippets_end
    mov eax, accesses_option
    call find_option
    test eax, eax
    jz .no_accesses
    mov ebx, access_snippets_end
.no_accesses:
    xor edi, edi                        ; edi = snippets run
    mov dword [iopl], 0
.level:
    mov esi, snippets
.next:
    call run_snippet
    inc edi
    add esi, SNIPPET_BYTES
    cmp esi, ebx
    jne .next
    add dword [iopl], 3
    cmp dword [iopl], 3
    je .level
    mov [esp + 28], edi                 ; eax and edx as POPAD will load them
    mov [esp + 20], edi
    popad
    ret
