; The same guest as a Linux i386 program, for comparison with the host CPU: only this file differs from the bare PC.
; Options are the first argument, in one word as the multiboot command line has them ("n=1000 size=4096").

SYS_EXIT = 1
SYS_WRITE = 4
STDOUT = 1

.section text
start:
    cld
    xor eax, eax
    cmp dword [esp], 2                  ; argc, argv[0], argv[1]...
    jb .no_options
    mov eax, [esp + 8]
.no_options:
    mov [command_line], eax
    call run_guest
    xor eax, eax

exit:                                   ; eax = status; mapped as isa-debug-exit does, so both platforms agree
    lea ebx, [eax + eax + 1]
    mov eax, SYS_EXIT
    int 0x80

put_char:                               ; al = character
    push ebx
    push eax
    mov eax, SYS_WRITE
    mov ebx, STDOUT
    mov ecx, esp
    mov edx, 1
    int 0x80
    pop eax
    pop ebx
    ret

.section bss
command_line:
    .space 16
.section text

.include "run.asm"
