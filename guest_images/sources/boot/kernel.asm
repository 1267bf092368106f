; What kernels share that are started otherwise than by multiboot 1: segments, COM1, text, the way out.

DEBUG_EXIT_PORT = 0xF4                  ; isa-debug-exit: the VMM exits with status * 2 + 1
STACK_BYTES = 0x1000

.section bss
.align 16
    .space STACK_BYTES
stack_top:
.section text

start:                                  ; eax and ebx as the loader left them; a guest's `main` gets them
    cli
    cld
    mov esp, stack_top
    mov [entry_eax], eax
    mov [entry_ebx], ebx
    lgdt [gdt_register]                 ; loaders leave GDTR undefined
    jmp CODE_SELECTOR:reload_segments
reload_segments:
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    call serial_init
    mov eax, guest_name
    call put_string
    call put_newline
    mov eax, [entry_eax]
    mov ebx, [entry_ebx]
    call main
    xor eax, eax
exit:                                   ; eax = status for the debug-exit port
    mov edx, DEBUG_EXIT_PORT
    out dx, al
.halt:
    cli
    hlt
    jmp .halt

put_range:                              ; eax = address of a 64-bit base and a 64-bit length: "base length"
    push ebx
    mov ebx, eax
    mov eax, [ebx + 4]
    call put_hex
    mov eax, [ebx]
    call put_hex
    mov eax, ' '
    call put_char
    mov eax, [ebx + 12]
    call put_hex
    mov eax, [ebx + 8]
    call put_hex
    pop ebx
    ret

put_sum:                                ; eax = first byte, edx = byte behind the last: the sum of the bytes
    push ebx
    xor ebx, ebx
.next:
    cmp eax, edx
    jae .done
    movzx ecx, byte [eax]
    add ebx, ecx
    inc eax
    jmp .next
.done:
    mov eax, ebx
    call put_hex
    pop ebx
    ret

.section bss
.align 4
entry_eax:
    .space 4
entry_ebx:
    .space 4
.section text

.include "descriptors.asm"
.include "serial.asm"
.include "print.asm"
