; fp-matrix: when x87, MMX and SSE instructions may run: each with CR0.EM, MP, TS and CR4.OSFXSR in every combination.
;
; One line an instruction: a character for each combination with CR4.OSFXSR set, then with it clear, TS counting fastest,
; then MP, then EM. A dot if it ran, else a letter for the exception: U #UD, M #NM.
; With strict=on also what QEMU's emulator does otherwise: EM and TS together, some of the instructions that are both MMX
; and SSE; under "pending" the instruction after an unmasked x87 exception (f is #MF, if it waits); a division by zero in
; SSE with CR4.OSXMMEXCPT clear and set (X is #XM), alignment; and interrupt 13, which reports x87 exceptions while CR0.NE
; is clear: how often it came, what status word the handler found, how often it has come after one more WAIT.
; result = hash of the transcript, which must be the expected one; ops = probes.
; SDM vol. 3A 2.5, 13.1; vol. 1 8.7, 11.5, appendix D.2.

default_n = 1
EXPECTED_HASH = 0x8BE633DD
EXPECTED_STRICT_HASH = 0x79A0D9D0

.include "platform.asm"
.include "interrupts.asm"
.include "probe.asm"

ROW_NAME = 0
ROW_CODE = 4
ROW_BYTES = 8
CR0_MP = 0x02
CR0_EM = 0x04
CR0_TS = 0x08
CR0_NE = 0x20
CR4_OSFXSR = 0x200
CR4_OSXMMEXCPT = 0x400
ALL_CR0 = 0x2E
ALL_CR4 = 0x600
IRQ_VECTORS = 0x20
IRQ13_VECTOR = IRQ_VECTORS + 13
FPU_ERROR_PORT = 0xF0
UNMASK_ZERO_DIVIDE = 0x37B

guest_name:
    .byte "fp-matrix", 0
strict_option:
    .byte "strict=on", 0

.macro row text, code
    .long name_\@, \code
.section data
name_\@:
    .byte \text, 0
.section text
.endm

.macro out_byte port, value
    mov al, \value
    out \port, al
.endm

.section bss
.align 16
area:
    .space 512
control_word:
    .space 4
mxcsr_word:
    .space 4
strict:
    .space 4
interrupts:
    .space 4
status_word:
    .space 4
last_row:
    .space 4
.section text

main:
    pushad
    call probes_init
    mov eax, strict_option
    call find_option
    mov [strict], eax
    mov dword [last_row], strict_rows
    test eax, eax
    jz .start
    mov dword [last_row], rows_end
.start:
    mov esi, rows
.row:
    mov eax, [esi + ROW_NAME]
    call say_text
    tell ": "
    mov edi, CR4_OSFXSR
    call eight_ways
    mov al, ' '
    call say
    xor edi, edi
    call eight_ways
    cmp dword [strict], 0
    je .next
    tell " pending "
    call after_exception
.next:
    mov al, 10
    call say
    add esi, ROW_BYTES
    cmp esi, [last_row]
    jne .row
    mov edx, EXPECTED_HASH
    cmp dword [strict], 0
    je .compare
    call sse_exceptions
    call interrupt_13
    mov edx, EXPECTED_STRICT_HASH
.compare:
    mov eax, [hash]
    cmp eax, edx
    jne exit_failed
    mov edx, [probe_count]
    mov [esp + 28], eax
    mov [esp + 20], edx
    popad
    ret

eight_ways:                             ; esi = row, edi = CR4: a character for each combination of EM, MP and TS
    xor ebp, ebp
.way:
    cmp dword [strict], 0
    jne .run
    mov eax, ebp
    and eax, 5
    cmp eax, 5                          ; EM and TS
    je .next
.run:
    call fresh
    mov eax, ebp                        ; TS, MP, EM are bits 0 to 2
    mov ecx, ebp
    shl eax, 3
    and eax, CR0_TS
    and ecx, 2
    or eax, ecx
    mov ecx, ebp
    and ecx, 4
    or eax, ecx
    or eax, CR0_NE
    call set_controls
    mov eax, [esi + ROW_CODE]
    call tell_probe
.next:
    inc ebp
    cmp ebp, 8
    jne .way
    ret

fresh:                                  ; FP usable, nothing in it
    mov eax, CR0_NE
    mov ecx, edi
    mov edi, ALL_CR4
    call set_controls
    mov edi, ecx
    fninit
    mov dword [control_word], UNMASK_ZERO_DIVIDE
    mov dword [mxcsr_word], 0x1F80
    ldmxcsr dword [mxcsr_word]
    fxsave [area]
    ret

set_controls:                           ; eax = CR0 bits, edi = CR4 bits
    push ecx
    mov ecx, cr0
    and ecx, ~ALL_CR0
    or ecx, eax
    mov cr0, ecx
    mov ecx, cr4
    and ecx, ~ALL_CR4
    or ecx, edi
    mov cr4, ecx
    pop ecx
    ret

tell_probe:                             ; eax = code: run it at ring 0 and say what came of it
    xor ecx, ecx
    mov edx, edi
    mov edi, area
    call probe
    mov edi, edx
tell_fault:
    cmp eax, NO_FAULT
    je .none
    mov al, [fault_letters + eax]
    jmp say
.none:
    mov al, '.'
    jmp say

after_exception:                        ; esi = row: the instruction with an unmasked x87 exception pending
    mov edi, ALL_CR4
    call fresh
    mov eax, pending_probe
    call tell_probe
    ret

pending_probe:
    call divide_by_zero
    jmp dword [esi + ROW_CODE]

divide_by_zero:
    fldcw word [control_word]
    fldz
    fld1
    fdivrp st(1)
    ret

sse_exceptions:
    tell "divps with OSXMMEXCPT clear, set: "
    mov edi, ALL_CR4
    call fresh
    mov edi, CR4_OSFXSR
    mov eax, CR0_NE
    call set_controls
    mov eax, do_sse_divide
    call tell_probe
    mov edi, ALL_CR4
    call fresh
    mov eax, do_sse_divide
    call tell_probe
    tell "\nmovaps, fxsave of unaligned memory: "
    mov eax, do_unaligned
    call tell_probe
    mov eax, do_unaligned_fxsave
    call tell_probe
    mov al, 10
    jmp say

do_sse_divide:
    mov dword [mxcsr_word], 0x1F00
    ldmxcsr dword [mxcsr_word]
    xorps xmm0, xmm0
    divps xmm0, xmm0
    int LEAVE_GATE
do_unaligned:
    movaps xmm0, xmmword [area + 8]
    int LEAVE_GATE
do_unaligned_fxsave:
    fxsave [area + 8]
    int LEAVE_GATE

; -- interrupt 13 -------------------------------------------------------------------------------------------------------

interrupt_13:
    tell "irq 13:"
    out_byte 0x20, 0x11
    out_byte 0xA0, 0x11
    out_byte 0x21, IRQ_VECTORS
    out_byte 0xA1, IRQ_VECTORS + 8
    out_byte 0x21, 4
    out_byte 0xA1, 2
    out_byte 0x21, 1
    out_byte 0xA1, 1
    out_byte 0x21, 0xFB                 ; the slave, and of it line 13
    out_byte 0xA1, 0xDF
    mov eax, IRQ13_VECTOR
    mov edx, irq_13
    mov ecx, INTERRUPT_GATE
    call set_gate
    mov edi, ALL_CR4
    call fresh
    xor eax, eax
    call set_controls
    sti
    call divide_by_zero
    wait
    nop
    cli
    mov eax, [interrupts]
    mov ecx, 2
    call tell_word
    mov eax, [status_word]
    mov ecx, 4
    call tell_word
    sti                                 ; once more, nothing is pending now
    wait
    nop
    cli
    mov eax, [interrupts]
    mov ecx, 2
    call tell_word
    out_byte 0x21, 0xFF
    out_byte 0xA1, 0xFF
    mov al, 10
    jmp say

tell_word:                              ; eax = number, ecx = how many digits
    push eax
    push ecx
    mov al, ' '
    call say
    pop ecx
    pop eax
    jmp say_hex_digits

irq_13:
    push eax
    inc dword [interrupts]
    fnstsw ax
    mov [status_word], eax
    out_byte FPU_ERROR_PORT, 0
    fnclex
    out_byte 0xA0, 0x20
    out_byte 0x20, 0x20
    pop eax
    iretd

; -- instructions -------------------------------------------------------------------------------------------------------

.align 4
rows:
    row "fld1", do_fld1
    row "fnop", do_fnop
    row "fldcw", do_fldcw
    row "fnstcw", do_fnstcw
    row "fnstsw ax", do_fnstsw
    row "fninit", do_fninit
    row "fnclex", do_fnclex
    row "fnstenv", do_fnstenv
    row "wait", do_wait
    row "paddb mm", do_paddb
    row "movd mm", do_movd
    row "pshufw mm", do_pshufw
    row "movntq mm", do_movntq
    row "maskmovq", do_maskmovq
    row "addps", do_addps
    row "movaps from memory", do_movaps
    row "movss to memory", do_movss
    row "comiss", do_comiss
    row "cvtsi2ss", do_cvtsi2ss
    row "ldmxcsr", do_ldmxcsr
    row "stmxcsr", do_stmxcsr
    row "fxsave", do_fxsave
    row "fxrstor", do_fxrstor
    row "sfence", do_sfence
    row "prefetcht0", do_prefetch
    row "cmovz", do_cmov
strict_rows:
    row "emms", do_emms
    row "cvtpi2ps from mm", do_cvtpi2ps
    row "cvtps2pi", do_cvtps2pi
rows_end:

do_fld1:
    fld1
    int LEAVE_GATE
do_fnop:
    fnop
    int LEAVE_GATE
do_fldcw:
    fldcw word [control_word]
    int LEAVE_GATE
do_fnstcw:
    fnstcw word [area]
    int LEAVE_GATE
do_fnstsw:
    fnstsw ax
    int LEAVE_GATE
do_fninit:
    fninit
    int LEAVE_GATE
do_fnclex:
    fnclex
    int LEAVE_GATE
do_fnstenv:
    fnstenv [area]
    int LEAVE_GATE
do_wait:
    wait
    int LEAVE_GATE
do_emms:
    emms
    int LEAVE_GATE
do_paddb:
    paddb mm0, mm1
    int LEAVE_GATE
do_movd:
    movd mm0, eax
    int LEAVE_GATE
do_pshufw:
    pshufw mm0, mm1, 1
    int LEAVE_GATE
do_movntq:
    movntq qword [area], mm0
    int LEAVE_GATE
do_maskmovq:
    maskmovq mm0, mm1
    int LEAVE_GATE
do_addps:
    addps xmm0, xmm1
    int LEAVE_GATE
do_movaps:
    movaps xmm0, xmmword [area]
    int LEAVE_GATE
do_movss:
    movss dword [area], xmm0
    int LEAVE_GATE
do_comiss:
    comiss xmm0, xmm1
    int LEAVE_GATE
do_cvtsi2ss:
    cvtsi2ss xmm0, eax
    int LEAVE_GATE
do_cvtpi2ps:
    cvtpi2ps xmm0, mm1
    int LEAVE_GATE
do_cvtps2pi:
    cvtps2pi mm0, xmm1
    int LEAVE_GATE
do_ldmxcsr:
    ldmxcsr dword [mxcsr_word]
    int LEAVE_GATE
do_stmxcsr:
    stmxcsr dword [area]
    int LEAVE_GATE
do_fxsave:
    fxsave [area]
    int LEAVE_GATE
do_fxrstor:
    fxrstor [area]
    int LEAVE_GATE
do_sfence:
    sfence
    int LEAVE_GATE
do_prefetch:
    prefetcht0 byte [area]
    int LEAVE_GATE
do_cmov:
    cmovz eax, ecx
    int LEAVE_GATE
