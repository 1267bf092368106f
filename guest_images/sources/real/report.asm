; To real mode, and back by an interrupt; what it found is on the real-mode stack.

.include "word.asm"

; The guest's code lies from 1 MiB on, where CS = FFFF reaches it: no copy in low memory is needed.
REAL_CODE = 0xFFFF
REAL_CODE_BASE = 0xFFFF0
REAL_DATA = 0x6000                      ; 64 KiB further on is RAM too
REAL_STACK = 0x8000
REAL_SP = 0xFF00
FLAG_RESERVED = 2
CR0_PE = 1
PIC1_MASK = 0x21
PIC2_MASK = 0xA1

SNIPPET_NAME = 0
SNIPPET_CODE = 4
SNIPPET_FLAGS = 8
SNIPPET_EXTRA = 12                      ; selector ES has on leaving protected mode
SNIPPET_BYTES = 16

CODE_16 = 0x18                          ; selectors beside those of the bare PC
DATA_16 = 0x20
DATA_BIG = 0x28                         ; 4 GiB

.align 8
real_gdt:
    .long 0, 0
    .long 0x0000FFFF, 0x00CF9A00        ; CODE_SELECTOR
    .long 0x0000FFFF, 0x00CF9200        ; DATA_SELECTOR
    .word 0xFFFF, 0xFFF0                ; CODE_16: base FFFF0
    .byte 0x0F, 0x9A, 0, 0
    .long 0x0000FFFF, 0x00009200        ; DATA_16
    .long 0x0000FFFF, 0x00CF9200        ; DATA_BIG
real_gdt_end:
real_gdt_register:
    .word real_gdt_end - real_gdt - 1
    .long real_gdt
vector_table_register:
    .word 0x3FF
    .long 0

STUB_BYTES = 8
VECTORS = 20

.macro real_stub vector
    .align STUB_BYTES
    pushf
    push \vector
    jmp near real_left
.endm

.bits 16
.align STUB_BYTES
real_stubs:
    real_stub 0
    real_stub 1
    real_stub 2
    real_stub 3
    real_stub 4
    real_stub 5
    real_stub 6
    real_stub 7
    real_stub 8
    real_stub 9
    real_stub 10
    real_stub 11
    real_stub 12
    real_stub 13
    real_stub 14
    real_stub 15
    real_stub 16
    real_stub 17
    real_stub 18
    real_stub 19
stub_60:
    real_stub 0x60
stub_61:
    real_stub 0x61

; offsets in the frame that real_left makes
LEFT_ES = 0
LEFT_SS = 2
LEFT_DS = 4
LEFT_BX = 14
LEFT_AX = 20
LEFT_VECTOR = 22
LEFT_NOW = 24                           ; FLAGS in the handler
LEFT_IP = 26
LEFT_CS = 28
LEFT_FLAGS = 30
LEFT_BYTES = 32

real_left:
    pusha
    push ds
    push ss
    push es
    xor ebp, ebp
    mov bp, ss
    shl ebp, 4
    movzx eax, sp
    add ebp, eax                        ; linear address of the frame
    .byte 0x66                          ; all 32 bits of the base
    lgdt cs:[real_gdt_register - REAL_CODE_BASE]
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    .byte 0x66, 0xEA                    ; jmp CODE_SELECTOR:protected_again
    .long protected_again
    .word CODE_SELECTOR

leave_protected:                        ; the order of SDM vol. 3A 10.9.2
    mov ax, DATA_16
    mov ss, ax
    mov ds, ax
    mov fs, ax
    mov gs, ax
    mov es, cx
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    jmp REAL_CODE:real_again - REAL_CODE_BASE
real_again:
    mov ax, REAL_STACK
    mov ss, ax
    mov sp, REAL_SP - 4
    mov ax, REAL_DATA
    mov ds, ax
    mov es, ax
    mov eax, 0x1234
    mov ebx, 0x200
    mov ecx, 2
    mov edx, 0x80
    mov esi, 0x100
    mov edi, 0x180
    mov ebp, 0x300
    popf
    ret
.bits 32

real_init:
    pushad
    mov al, 0xFF                        ; no interrupt of the firmware's timer
    out PIC1_MASK, al
    out PIC2_MASK, al
    xor edi, edi
    mov eax, REAL_CODE << 16 | (real_stubs - REAL_CODE_BASE)
    mov ecx, VECTORS
.next:
    mov [edi], eax
    add edi, 4
    add eax, STUB_BYTES
    dec ecx
    jnz .next
    mov dword [0x60 * 4], REAL_CODE << 16 | (stub_60 - REAL_CODE_BASE)
    popad
    ret

.section bss
.align 16
saved_stack:
    .space 4
.section text

run_snippet:                            ; esi = snippet
    pushad
    mov [saved_stack], esp
    mov edi, REAL_STACK * 16 + REAL_SP - 64
    mov ecx, 32
    xor eax, eax
    rep stosd
    mov edi, REAL_DATA * 16
    mov ecx, 0x8000
    rep stosd
    mov dword [REAL_DATA * 16 + 0x10000], 0x89ABCDEF
    mov eax, [esi + SNIPPET_FLAGS]
    mov [REAL_STACK * 16 + REAL_SP - 4], ax
    mov eax, [esi + SNIPPET_CODE]
    sub eax, REAL_CODE_BASE
    mov [REAL_STACK * 16 + REAL_SP - 2], ax
    mov ecx, [esi + SNIPPET_EXTRA]
    lgdt [real_gdt_register]
    lidt [vector_table_register]
    jmp CODE_16:leave_protected - REAL_CODE_BASE

protected_again:
    mov eax, DATA_SELECTOR
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov esp, [saved_stack]
    cld
    mov esi, [esp + 4]                  ; the snippet: esi of run_snippet's PUSHAD
    mov eax, [esi + SNIPPET_NAME]
    call put_string
    print ": v="
    movzx eax, word [ebp + LEFT_VECTOR]
    call put_word
    print " ip="
    movzx eax, word [ebp + LEFT_IP]
    add eax, REAL_CODE_BASE
    sub eax, [esi + SNIPPET_CODE]
    call put_word
    print " cs="
    movzx eax, word [ebp + LEFT_CS]
    call put_word
    print " fl="
    movzx eax, word [ebp + LEFT_FLAGS]
    call put_word
    print " now="
    movzx eax, word [ebp + LEFT_NOW]
    call put_word
    print " sp="
    movzx eax, word [ebp + LEFT_SS]
    shl eax, 4
    neg eax
    lea eax, [ebp + eax + LEFT_BYTES]
    call put_word
    print " ax="
    movzx eax, word [ebp + LEFT_AX]
    call put_word
    print " bx="
    movzx eax, word [ebp + LEFT_BX]
    call put_word
    print " ds="
    movzx eax, word [ebp + LEFT_DS]
    call put_word
    print " es="
    movzx eax, word [ebp + LEFT_ES]
    call put_word
    print " ss="
    movzx eax, word [ebp + LEFT_SS]
    call put_word
    print " stack"
    mov edi, 4
.word:
    mov eax, ' '
    call put_char
    movzx eax, word [ebp + LEFT_BYTES]
    call put_word
    add ebp, 2
    dec edi
    jnz .word
    call put_newline
    popad
    ret
