; The snippets: 16-bit code, each ended by UD2 unless something else ends it.

FLAG_TF = 0x100
FLAG_OF = 0x800
FLAG_VIF = 0x80000
FLAG_VIP = 0x100000
WITH_IF = FLAG_IF
NONE = 0

; .bits and the code of a snippet follow the line that names it
.macro snippet text, flags
    .section data
    .align 4
    .long name_\@, code_\@, \flags
    .section text
name_\@:
    .byte \text, 0
code_\@:
.endm

.macro finish
    ud2
.endm

.section data
.align 4
snippets:
.section text
.bits 16

redirected_handler:                     ; of the vector table
    mov ax, 0x5678
    finish

    snippet "cli", WITH_IF
    cli
    finish
    snippet "sti", NONE
    sti
    nop
    finish
    snippet "pushf if=1", WITH_IF
    pushf
    finish
    snippet "pushf if=0", NONE
    pushf
    finish
    snippet "pushfd", WITH_IF
    pushfd
    finish
    snippet "popf 0ed7", NONE
    push 0x0ED7
    popf
    finish
    snippet "popf 0000", WITH_IF
    push 0
    popf
    finish
    snippet "popf 7202", NONE
    push 0x7202
    popf
    finish
    snippet "popfd 00247ad7", WITH_IF
    push 0x24
    push 0x7AD7
    popfd
    finish
    snippet "iret 0202", NONE
    push 0x0202
    push cs
    call .here
.here:
    pop ax
    add ax, 6
    push ax
    iret
    nop
    finish
    snippet "iretd 00247202", NONE
    push 0x24
    push 0x7202
    push 0
    push cs
    push 0
    call .here
.here:
    pop ax
    add ax, 7
    push ax
    iretd
    nop
    finish
    snippet "int 0x60", WITH_IF
    int 0x60
    finish
    snippet "int 0x60 if=0", NONE
    int 0x60
    finish
    snippet "int 0x61", WITH_IF
    int 0x61
    finish
    snippet "int 3 in two bytes", WITH_IF
    .byte 0xCD, 3
    finish
    snippet "int3", WITH_IF
    int3
    finish
    snippet "into", FLAG_OF
    into
    finish
    snippet "into of=0", NONE
    into
    finish
    snippet "hlt", NONE
    hlt
    finish
    snippet "single step", FLAG_TF
    nop
    nop
    finish
    snippet "in al, 0x80", NONE
    in al, 0x80
    mov al, 0
    finish
    snippet "in al, 0x84", NONE
    in al, 0x84
    finish
    snippet "in ax, 0x80", NONE
    in ax, 0x80
    mov ax, 0
    finish
    snippet "in ax, 0x81", NONE
    in ax, 0x81
    finish
    snippet "in eax, 0x80", NONE
    in eax, 0x80
    finish
    snippet "out 0x80, al", NONE
    out 0x80, al
    finish
    snippet "out 0xffff, al", NONE
    mov dx, 0xFFFF
    out dx, al
    finish
    snippet "rep outsb to 0x80", NONE
    rep outsb
    mov ax, si
    finish
    snippet "insb from 0x84", NONE
    mov dx, 0x84
    insb
    finish
    snippet "mov eax, cr0", NONE
    mov eax, cr0
    finish
    snippet "mov cr3, eax", NONE
    mov cr3, eax
    finish
    snippet "mov eax, dr7", NONE
    mov eax, dr7
    finish
    snippet "smsw", NONE
    smsw ax
    and ax, 1
    finish
    snippet "lmsw", NONE
    lmsw ax
    finish
    snippet "clts", NONE
    clts
    finish
    snippet "wbinvd", NONE
    wbinvd
    finish
    snippet "rdmsr", NONE
    rdmsr
    finish
    snippet "invlpg", NONE
    invlpg [bx]
    finish
    snippet "lgdt", NONE
    lgdt [bx]
    finish
    snippet "lidt", NONE
    lidt [bx]
    finish
    snippet "sldt", NONE
    .byte 0x0F, 0x00, 0xC0
    finish
    snippet "str", NONE
    .byte 0x0F, 0x00, 0xC8
    finish
    snippet "lldt", NONE
    .byte 0x0F, 0x00, 0xD0
    finish
    snippet "ltr", NONE
    .byte 0x0F, 0x00, 0xD8
    finish
    snippet "verr", NONE
    .byte 0x0F, 0x00, 0xE0
    finish
    snippet "verw", NONE
    .byte 0x0F, 0x00, 0xE8
    finish
    snippet "lar", NONE
    .byte 0x0F, 0x02, 0xC0
    finish
    snippet "lsl", NONE
    .byte 0x0F, 0x03, 0xC0
    finish
    snippet "arpl", NONE
    .byte 0x63, 0xC0
    finish
    snippet "mov ds", NONE
    mov ax, 0x8123
    mov ds, ax
    finish
    snippet "pop es", NONE
    push 0x7654
    pop es
    finish
    snippet "les", NONE
    mov word [bx], 0x1111
    mov word [bx + 2], 0x2222
    les ax, [bx]
    finish
    snippet "through ds", NONE
    mov ax, 0x9010
    mov ds, ax
    mov word [0], 0x4321
    mov ax, es:[0x100]
    finish
    snippet "mov ax, cs", NONE
    mov ax, cs
    finish
    snippet "far jump", NONE
    jmp 0xFFFF:far_target - V86_CODE_BASE
    snippet "far call", NONE
    call 0xFFFF:far_target - V86_CODE_BASE
    snippet "far return", NONE
    push 0xFFFF
    push far_target - V86_CODE_BASE
    retf
    snippet "push and pop, 32 bits", NONE
    mov eax, 0x89ABCDEF
    push eax
    pop bx
    pop ax
    finish
    snippet "aam 0", NONE
    .byte 0xD4, 0
    snippet "bound", NONE
    bound ax, [bx]
    finish
    snippet "lock nop", NONE
    .byte 0xF0, 0x90
    snippet "sti vip", FLAG_VIP
    sti
    nop
    finish
    snippet "popf 0200 vip", FLAG_VIP
    push 0x0200
    popf
    finish
    snippet "popf 0100", NONE
    push 0x0100
    popf
    nop
    finish
    snippet "pushf vif", FLAG_VIF
    pushf
    finish
    snippet "cli vif", FLAG_VIF
    cli
    finish
    snippet "int 0x60 vif", FLAG_VIF
    int 0x60
    finish

.section data
snippets_end:
.section text

    snippet "word at ffff", NONE
    mov ax, [0xFFFF]
    finish
    snippet "word at ffff of the stack", NONE
    mov bp, 0xFFFF
    mov [bp], ax
    finish
    snippet "push at sp=1", NONE
    mov sp, 1
    push ax
    finish
    snippet "offset 10000", NONE
    mov ebx, 0x10000
    mov al, [ebx]
    finish
    snippet "jump to 10000", NONE
    .byte 0x66, 0xE9
    .long 0x20000
    finish

.section data
access_snippets_end:
.section text

far_target:
    mov ax, 0x4444
    finish
.bits 32
