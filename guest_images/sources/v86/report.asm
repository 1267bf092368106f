; Enters virtual-8086 mode, catches what ends it, reports.

.include "word.asm"

; The guest's code lies from 1 MiB on, where CS = FFFF reaches it: no copy in low memory is needed.
V86_CODE = 0xFFFF
V86_CODE_BASE = 0xFFFF0
V86_DATA = 0x9000
V86_STACK = 0x8000
V86_SP = 0xFF00
FLAG_VM = 0x20000
FLAG_RF = 0x10000
FLAG_IF = 0x200
FLAG_RESERVED = 2
PIC1_MASK = 0x21
PIC2_MASK = 0xA1
REDIRECTED = 0x60                       ; INT through the vector table with CR4.VME, else through a gate of DPL 3
PROTECTED = 0x61                        ; INT through a gate of DPL 0

SNIPPET_NAME = 0
SNIPPET_CODE = 4
SNIPPET_FLAGS = 8                       ; EFLAGS beside VM and IOPL
SNIPPET_BYTES = 12

; The TSS has a redirection bitmap below its I/O permission bitmap.
V86_TSS_REDIRECTION = TSS_BYTES
V86_TSS_IO_MAP = V86_TSS_REDIRECTION + 32
V86_TSS_BYTES = V86_TSS_IO_MAP + 0x2000 + 1
OPEN_PORTS = 0x80                       ; ports 80 and 81 are open

.section bss
.align 16
v86_tss:
    .space V86_TSS_BYTES
.align 16
iopl:
    .space 4
saved_stack:
    .space 4
.section text

.macro v86_stub vector
    .align STUB_BYTES
    push 0
    push \vector
    jmp near v86_left
.endm

.macro v86_stub_with_code vector
    .align STUB_BYTES
    push \vector
    jmp near v86_left
.endm

.align STUB_BYTES
v86_stubs:
    v86_stub 0
    v86_stub 1
    v86_stub 2
    v86_stub 3
    v86_stub 4
    v86_stub 5
    v86_stub 6
    v86_stub 7
    v86_stub_with_code 8
    v86_stub 9
    v86_stub_with_code 10
    v86_stub_with_code 11
    v86_stub_with_code 12
    v86_stub_with_code 13
    v86_stub_with_code 14
redirected_stub:
    v86_stub REDIRECTED
protected_stub:
    v86_stub PROTECTED
V86_STUBS = 15

v86_init:
    pushad
    mov al, 0xFF                        ; no interrupt of the firmware's timer
    out PIC1_MASK, al
    out PIC2_MASK, al
    xor ebx, ebx
.next:
    mov eax, ebx
    mov edx, ebx
    shl edx, 4                          ; times STUB_BYTES
    add edx, v86_stubs
    mov ecx, INTERRUPT_GATE
    cmp ebx, 3
    jb .set
    cmp ebx, 4
    ja .set
    mov ecx, USER_INTERRUPT_GATE        ; INT3 and INTO
.set:
    call set_gate
    inc ebx
    cmp ebx, V86_STUBS
    jne .next
    mov eax, REDIRECTED
    mov edx, redirected_stub
    mov ecx, USER_INTERRUPT_GATE
    call set_gate
    mov eax, PROTECTED
    mov edx, protected_stub
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov dword [REDIRECTED * 4], V86_CODE << 16 | (redirected_handler - V86_CODE_BASE)
    mov dword [PROTECTED * 4], V86_CODE << 16 | (redirected_handler - V86_CODE_BASE)

    mov edi, v86_tss + V86_TSS_REDIRECTION
    mov ecx, V86_TSS_BYTES - V86_TSS_REDIRECTION
    mov al, 0xFF
    rep stosb
    mov byte [v86_tss + V86_TSS_REDIRECTION + REDIRECTED / 8], 0xFE
    mov byte [v86_tss + V86_TSS_IO_MAP + OPEN_PORTS / 8], 0xFC
    mov dword [v86_tss + TSS_SS0], DATA_SELECTOR
    mov word [v86_tss + TSS_IO_MAP_BASE], V86_TSS_IO_MAP
    mov eax, v86_tss
    mov word [gdt + TSS_SELECTOR], V86_TSS_BYTES - 1
    mov [gdt + TSS_SELECTOR + 2], ax
    shr eax, 16
    mov [gdt + TSS_SELECTOR + 4], al
    mov eax, TSS_SELECTOR
    ltr ax
    popad
    ret

run_snippet:                            ; esi = snippet
    pushad
    mov [saved_stack], esp
    mov [v86_tss + TSS_ESP0], esp       ; the frame of the exception goes below our own
    mov edi, V86_STACK * 16 + V86_SP - 16
    mov ecx, 8
    xor eax, eax
    rep stosd                           ; what is on the stack is then known
    mov edi, V86_DATA * 16
    mov ecx, 0x4000
    rep stosd
    push V86_DATA                       ; gs fs ds es
    push V86_DATA
    push V86_DATA
    push V86_DATA
    push V86_STACK
    push V86_SP
    mov eax, [iopl]
    shl eax, 12
    or eax, [esi + SNIPPET_FLAGS]
    or eax, FLAG_VM | FLAG_RESERVED
    push eax
    mov eax, V86_CODE                   ; keystone would push -1
    push eax
    mov eax, [esi + SNIPPET_CODE]
    sub eax, V86_CODE_BASE
    push eax
    mov eax, 0x1234
    mov ebx, 0x200
    mov ecx, 2
    mov edx, OPEN_PORTS
    mov esi, 0x100
    mov edi, 0x180
    mov ebp, 0x300
    iretd

LEFT_EAX = 28                           ; offsets in the frame of v86_left
LEFT_VECTOR = 32
LEFT_ERROR = 36
LEFT_EIP = 40
LEFT_CS = 44
LEFT_EFLAGS = 48
LEFT_ESP = 52
LEFT_ES = 60
LEFT_DS = 64

v86_left:
    pushad
    mov ebx, ds
    mov ecx, es
    or ebx, ecx
    mov ecx, fs
    or ebx, ecx
    mov ecx, gs
    or ebx, ecx
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    cld
    mov ebp, esp
    test ebx, ebx
    jnz exit_failed
    mov esi, [saved_stack]
    mov esi, [esi + 4]                  ; the snippet: esi of run_snippet's PUSHAD
    print "iopl"
    mov eax, [iopl]
    call put_decimal
    mov eax, ' '
    call put_char
    mov eax, [esi + SNIPPET_NAME]
    call put_string
    print ": v="
    mov eax, [ebp + LEFT_VECTOR]
    call put_word
    print " e="
    mov eax, [ebp + LEFT_ERROR]
    call put_word
    print " ip="
    mov eax, [ebp + LEFT_EIP]
    add eax, V86_CODE_BASE
    sub eax, [esi + SNIPPET_CODE]
    call put_word
    print " cs="
    mov eax, [ebp + LEFT_CS]
    call put_word
    print " fl="
    mov eax, [ebp + LEFT_EFLAGS]
    and eax, -1 - FLAG_RF
    call put_hex
    print " sp="
    mov eax, [ebp + LEFT_ESP]
    call put_word
    print " ax="
    mov eax, [ebp + LEFT_EAX]
    call put_word
    print " ds="
    mov eax, [ebp + LEFT_DS]
    call put_word
    print " es="
    mov eax, [ebp + LEFT_ES]
    call put_word
    print " stack"
    mov ebx, V86_STACK * 16 + V86_SP - 8
    mov edi, 4
.word:
    mov eax, ' '
    call put_char
    movzx eax, word [ebx]
    call put_word
    add ebx, 2
    dec edi
    jnz .word
    call put_newline
    mov esp, [saved_stack]
    popad
    ret
