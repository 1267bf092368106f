; sensitive: what the sensitive and privileged instructions do at CPL 0 and CPL 3, for IOPL 0 and 3, one line a check.
;
; Sensitive and yet unprivileged are, after Robin and Irvine (2000): SGDT SIDT SLDT SMSW PUSHF POPF LAR LSL VERR VERW
; POP, PUSH and MOV of segment registers, far CALL JMP RET, INT n, STR. Expected are the SDM's results: value, or
; vector, error code and address of the fault. UMIP is off, CR0.TS is set, interrupts are enabled with all lines masked.
; With accesses=on also use of memory through unfit segments, which QEMU's emulator lets pass.
; result = checks that hold, ops = checks. Any check that does not hold fails the guest.

default_n = 1

.include "platform.asm"
.include "interrupts.asm"
.include "runner.asm"
.include "segments.asm"
.include "snippets.asm"
.include "transfers.asm"

.include "checks.asm"

guest_name:
    .byte "sensitive", 0
accesses_option:
    .byte "accesses=on", 0

main:
    pushad
    call set_up
    mov ebx, checks_end
    mov eax, accesses_option
    call find_option
    test eax, eax
    jz .start
    mov ebx, access_checks_end
.start:
    mov esi, checks
    xor edi, edi                        ; edi = checks that hold
    xor ebp, ebp                        ; ebp = checks
.next:
    call run_check
    add edi, eax
    inc ebp
    add esi, CHECK_BYTES
    cmp esi, ebx
    jne .next
    cmp edi, ebp
    jne exit_failed
    mov [esp + 28], edi                 ; eax and edx as POPAD will load them
    mov [esp + 20], ebp
    popad
    ret
