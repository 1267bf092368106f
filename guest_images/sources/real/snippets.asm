; The snippets: 16-bit code, each ended by UD2 unless something else ends it.

FLAG_TF = 0x102
FLAG_IF = 0x202
FLAG_OF = 0x802
NONE = 2
SMALL = DATA_16                         ; what ES has on leaving protected mode
BIG = DATA_BIG

.macro snippet text, flags, extra
    .section data
    .align 4
    .long name_\@, code_\@, \flags, \extra
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

    snippet "nothing", NONE, SMALL
    finish
    snippet "mov ds", NONE, SMALL
    mov ax, 0x6010
    mov ds, ax
    mov word es:[0x100], 0x4321
    mov bx, [0]
    finish
    snippet "pop ss", NONE, SMALL
    push 0x8001
    pop ss
    finish
    snippet "les", NONE, SMALL
    mov word [bx], 0x1111
    mov word [bx + 2], 0x2222
    les ax, [bx]
    finish
    snippet "write through cs", NONE, SMALL
    mov ax, cs:[.cell - REAL_CODE_BASE]
    inc word cs:[.cell - REAL_CODE_BASE]
    mov bx, cs:[.cell - REAL_CODE_BASE]
    finish
.cell:
    .word 0x7777
    snippet "cli", FLAG_IF, SMALL
    cli
    finish
    snippet "sti", NONE, SMALL
    sti
    nop
    finish
    snippet "pushf", FLAG_IF, SMALL
    pushf
    finish
    snippet "popf 7ed7", NONE, SMALL
    push 0x7ED7
    popf
    finish
    snippet "pushfd after popfd 00247002", NONE, SMALL
    push 0x24
    push 0x7002
    popfd
    pushfd
    pop ax
    pop bx
    push 0
    push 2
    popfd
    finish
    snippet "popfd 001b0002", NONE, SMALL
    push 0x1B
    push 2
    popfd
    pushfd
    pop ax
    pop bx
    finish
    snippet "iret", NONE, SMALL
    push 0x0ED7
    push cs
    call .here
.here:
    pop ax
    add ax, 6
    push ax
    iret
    nop
    finish
    snippet "iretd", NONE, SMALL
    push 0
    push 0x0202
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
    snippet "int 0x60", FLAG_IF, SMALL
    int 0x60
    finish
    snippet "int3", FLAG_IF, SMALL
    int3
    finish
    snippet "into", FLAG_OF, SMALL
    into
    finish
    snippet "into of=0", NONE, SMALL
    into
    finish
    snippet "single step", FLAG_TF, SMALL
    nop
    finish
    snippet "int 0x60 beyond the table", FLAG_IF, SMALL
    mov word [bx], 0x17F
    lidt [bx]
    int 0x60
    finish
    snippet "int 3 of another table", FLAG_IF, SMALL
    mov word [bx], 0x3FF
    mov word [bx + 4], REAL_DATA / 0x1000
    lidt [bx]
    mov word [12], stub_61 - REAL_CODE_BASE
    mov word [14], REAL_CODE
    int3
    finish
    snippet "lgdt and sgdt", NONE, SMALL
    mov word [bx], 0x1234
    mov dword [bx + 2], 0x56789ABC
    lgdt [bx]
    sgdt [bx + 8]
    mov ax, [bx + 10]
    mov bx, [bx + 12]
    finish
    snippet "lgdt, 32 bits", NONE, SMALL
    mov word [bx], 0x1234
    mov dword [bx + 2], 0x56789ABC
    .byte 0x66
    lgdt [bx]
    .byte 0x66
    sgdt [bx + 8]
    mov ax, [bx + 10]
    mov bx, [bx + 12]
    finish
    snippet "smsw", NONE, SMALL
    smsw ax
    and ax, 1
    finish
    snippet "lmsw and clts", NONE, SMALL
    smsw ax
    or al, 8
    lmsw ax
    smsw bx
    clts
    smsw ax
    and ax, 9
    and bx, 9
    finish
    snippet "mov cr2", NONE, SMALL
    mov eax, 0x12345678
    mov cr2, eax
    mov ebx, cr2
    finish
    snippet "wbinvd", NONE, SMALL
    wbinvd
    finish
    snippet "invlpg", NONE, SMALL
    invlpg [bx]
    finish
    snippet "sldt", NONE, SMALL
    .byte 0x0F, 0x00, 0xC0
    finish
    snippet "str", NONE, SMALL
    .byte 0x0F, 0x00, 0xC8
    finish
    snippet "lldt", NONE, SMALL
    .byte 0x0F, 0x00, 0xD0
    finish
    snippet "ltr", NONE, SMALL
    .byte 0x0F, 0x00, 0xD8
    finish
    snippet "verr", NONE, SMALL
    .byte 0x0F, 0x00, 0xE0
    finish
    snippet "verw", NONE, SMALL
    .byte 0x0F, 0x00, 0xE8
    finish
    snippet "lar", NONE, SMALL
    .byte 0x0F, 0x02, 0xC0
    finish
    snippet "lsl", NONE, SMALL
    .byte 0x0F, 0x03, 0xC0
    finish
    snippet "arpl", NONE, SMALL
    .byte 0x63, 0xC0
    finish
    snippet "lock nop", NONE, SMALL
    .byte 0xF0, 0x90
    snippet "aam 0", NONE, SMALL
    .byte 0xD4, 0
    snippet "div bp by 0", NONE, SMALL
    xor bp, bp
    div bp
    snippet "bound", NONE, SMALL
    bound ax, [bx]
    finish
    snippet "far jump", NONE, SMALL
    jmp 0xFFFF:far_target - REAL_CODE_BASE
    snippet "far jump elsewhere", NONE, SMALL
    mov word es:[0], 0x0B0F             ; ud2
    jmp 0x5FFF:0x10
    snippet "far call", NONE, SMALL
    call 0xFFFF:far_target - REAL_CODE_BASE
    snippet "far call, 32 bits", NONE, SMALL
    .byte 0x66, 0x9A
    .long far_target - REAL_CODE_BASE
    .word 0xFFFF
    snippet "far return", NONE, SMALL
    push 0xFFFF
    push far_target - REAL_CODE_BASE
    retf
    snippet "far return, 32 bits, 2 released", NONE, SMALL
    push 0x5555
    push 0
    push 0xFFFF
    push 0
    push far_target - REAL_CODE_BASE
    .byte 0x66, 0xCA, 2, 0
    snippet "push and pop, 32 bits", NONE, SMALL
    mov eax, 0x89ABCDEF
    push eax
    pop bx
    pop ax
    finish
    snippet "sp wraps", NONE, SMALL
    mov sp, 2
    push 0x1111
    push 0x2222
    mov ax, sp
    mov bx, ss:[0xFFFE]
    mov sp, REAL_SP
    finish
    snippet "big real mode", NONE, BIG
    mov ebx, 0x10000
    mov ax, es:[ebx]
    finish
    snippet "big real mode survives loads", NONE, BIG
    mov ax, 0x6001
    mov es, ax
    mov ebx, 0xFFF0
    mov ax, es:[ebx]
    mov bx, es:[ebx + 2]
    finish
    snippet "big real mode on the way", NONE, SMALL
    .byte 0x66
    lgdt cs:[real_gdt_register - REAL_CODE_BASE]
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    mov cx, DATA_BIG                    ; no jump: CS stays what it is
    mov fs, cx
    and al, 0xFE
    mov cr0, eax
    mov cx, REAL_DATA
    mov fs, cx
    mov ebx, 0x10000
    mov ax, fs:[ebx]
    finish
    snippet "16-bit protected mode on the way", NONE, SMALL
    .byte 0x66
    lgdt cs:[real_gdt_register - REAL_CODE_BASE]
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    jmp CODE_16:.protected - REAL_CODE_BASE
.protected:
    mov ax, DATA_16
    mov es, ax
    mov bx, cs
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    jmp REAL_CODE:.real - REAL_CODE_BASE
.real:
    mov ax, cs
    finish

.section data
snippets_end:
.section text

    snippet "sgdt, 16 bits", NONE, SMALL
    mov dword [bx + 2], 0x56789ABC
    .byte 0x66
    lgdt [bx]
    sgdt [bx + 8]                       ; processors store all 32 bits, whatever the manual says
    mov ax, [bx + 10]
    mov bx, [bx + 12]
    finish

    snippet "word at ffff", NONE, SMALL
    mov ax, [0xFFFF]
    finish
    snippet "word at ffff of the stack", NONE, SMALL
    mov bp, 0xFFFF
    mov [bp], ax
    finish
    snippet "offset 10000", NONE, SMALL
    mov ebx, 0x10000
    mov al, es:[ebx]
    finish
    snippet "jump to 10000", NONE, SMALL
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
