; The bare PC under the compute and nano guests: multiboot header, segments, UART, options, exit.
;
; A guest supplies
;   guest_name        zero-terminated name
;   default_n         constant: number of operations or passes if the command line has no n=
;   main              called with eax = n; returns eax = checksum, edx = operations done
; and gets, besides what print.asm and option.asm offer, `exit` (eax = status) and `exit_failed`.
; Runtime routines take arguments in eax, edx, ecx and may change these three; all other registers are preserved.

MULTIBOOT_MAGIC = 0x1BADB002
MULTIBOOT_FLAGS = 2                     ; bit 1: we want memory information
DEBUG_EXIT_PORT = 0xF4                  ; isa-debug-exit: the VMM exits with status * 2 + 1
STACK_BYTES = 0x10000

.section text
.align 4
multiboot_header:
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

start:
    cli
    cld
    mov esp, stack_top
    lgdt [gdt_register]                 ; multiboot leaves GDTR undefined
    jmp CODE_SELECTOR:reload_segments
reload_segments:
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    xor eax, eax
    test dword [ebx], 4                 ; multiboot information, flags bit 2: command line is valid
    jz .no_command_line
    mov eax, [ebx + 16]
.no_command_line:
    mov [command_line], eax
    call serial_init
    call run_guest
    xor eax, eax
    jmp exit

exit:                                   ; eax = status for the debug-exit port
    mov edx, DEBUG_EXIT_PORT
    out dx, al
.halt:                                  ; only reached on a machine without the port
    cli
    hlt
    jmp .halt

.section bss
.align 16
command_line:
    .space 16
    .space STACK_BYTES
stack_top:
.section text

.include "descriptors.asm"
.include "serial.asm"
.include "run.asm"
