; gate-matrix: call gates and far returns: every gate to every code segment, every descriptor returned to, at rings 0 to 3.
;
; First part: a line is JMP or CALL, the size of the gate, whether the code conforms (c), its DPL. The four groups are the
; gate's DPL; in a group there is a character each for ring 0, for ring 3 with RPL 0 and for ring 3 with RPL 3: the ring
; arrived at, or a letter for the exception, small if its error code names the code and not the gate. Calls pass three
; parameters and, through 32-bit gates, return: "!" marks wrong parameters or a stack pointer that is off.
; Second part: a line an access byte. Under ret and iret: returns to it from ring 0 with RPL 0 to 3 and a good stack, from
; ring 3 with RPL 0 and 3. Under ss ret and ss iret: the same byte as the stack of a return from ring 0 to ring 3, with RPL
; 3 and 0. A dot is success; letters are small where the error code is not the selector's.
; With strict=on also what QEMU's emulator does otherwise: calls through gates to conforming code, which it takes to the
; ring of the code's DPL, and RET to a stack that is not present (#NP); for IRET Bochs has #NP too, and "--" stands.
; result = hash of the transcript, which must be the expected one; ops = probes. SDM vol. 3A 5.8; vol. 2 CALL RET IRET.

default_n = 1
EXPECTED_HASH = 0x7FBF2901
EXPECTED_HASH_STRICT = 0xA0DACCDD

.include "platform.asm"
.include "interrupts.asm"
.include "probe.asm"

CODE_UNDER_TEST = SPARE_SELECTOR
GATE_SELECTOR = SPARE_2_SELECTOR
RING_1_DATA_SELECTOR = 0x60
RING_2_DATA_SELECTOR = 0x68
TSS_ESP1 = 12
TSS_SS1 = 16
TSS_ESP2 = 20
TSS_SS2 = 24
GATE_32 = 0x8C00
GATE_16 = 0x8400
CODE = 0x9A                             ; readable, present
CONFORMING = 4
PARAMETERS = 3
SUM_32 = 0x6666                         ; of the parameters as dwords, and of as many words of them
SUM_16 = 0x5555
NOWHERE_YET = 0xFF

guest_name:
    .byte "gate-matrix", 0
strict_option:
    .byte "strict=on", 0

.section bss
.align 4
strict:
    .space 4
    .space 512
ring_1_stack_top:
    .space 512
ring_2_stack_top:
    .space 512
outer_stack_top:
gate_type:                              ; in the high dword
    .space 4
is_jump:
    .space 4
code_type:                              ; CONFORMING or 0
    .space 4
code_dpl:
    .space 4
gate_dpl:
    .space 4
arrived:
    .space 4
sum:
    .space 4
stack_before:
    .space 4
released:
    .space 4
return_selector:
    .space 4
stack_selector:
    .space 4
.section data
.align 4
to_gate:
    .long 0xDEADBEEF                    ; gates have an offset of their own
    .long 0
.section text

main:
    pushad
    call probes_init
    mov eax, strict_option
    call find_option
    mov [strict], eax
    mov dword [tss + TSS_ESP1], ring_1_stack_top
    mov dword [tss + TSS_SS1], RING_1_DATA_SELECTOR + 1
    mov dword [tss + TSS_ESP2], ring_2_stack_top
    mov dword [tss + TSS_SS2], RING_2_DATA_SELECTOR + 2
    mov eax, RING_1_DATA_SELECTOR
    xor edx, edx
    mov ecx, 0xFFFFF
    mov ebx, 0xC0B2
    call describe
    mov eax, RING_2_DATA_SELECTOR
    mov ebx, 0xC0D2
    call describe
    mov dword [gate_type], GATE_32
    call all_methods
    mov dword [gate_type], GATE_16
    call all_methods
    call all_returns
    mov eax, [hash]
    mov edx, EXPECTED_HASH
    cmp dword [strict], 0
    je .compare
    mov edx, EXPECTED_HASH_STRICT
.compare:
    cmp eax, edx
    jne exit_failed
    mov edx, [probe_count]
    mov [esp + 28], eax
    mov [esp + 20], edx
    popad
    ret

all_methods:
    mov dword [is_jump], 0
    call all_code
    mov dword [is_jump], 1
all_code:
    mov dword [code_type], 0
    call all_levels
    mov eax, [is_jump]
    or eax, [strict]
    jz .done
    mov dword [code_type], CONFORMING
    jmp all_levels
.done:
    ret

all_levels:
    mov dword [code_dpl], 0
.level:
    call one_line
    inc dword [code_dpl]
    cmp dword [code_dpl], 4
    jne .level
    ret

one_line:
    cmp dword [is_jump], 0
    je .call
    tell "jmp  "
    jmp .size
.call:
    tell "call "
.size:
    cmp dword [gate_type], GATE_16
    je .short
    tell "32 "
    jmp .type
.short:
    tell "16 "
.type:
    mov al, 'c'
    cmp dword [code_type], 0
    jne .conforming
    mov al, '-'
.conforming:
    call say
    mov eax, [code_dpl]
    mov ecx, 1
    call say_hex_digits
    mov dword [gate_dpl], 0
.gate:
    mov al, ' '
    call say
    xor ecx, ecx
    xor edx, edx
    call one_gate
    mov ecx, 3
    xor edx, edx
    call one_gate
    mov ecx, 3
    mov edx, 3
    call one_gate
    inc dword [gate_dpl]
    cmp dword [gate_dpl], 4
    jne .gate
    mov al, 10
    jmp say

one_gate:                               ; ecx = ring, edx = RPL
    push ecx
    add edx, GATE_SELECTOR
    mov [to_gate + 4], edx
    mov eax, CODE_UNDER_TEST
    mov edx, target
    mov ecx, 0xFFFF
    mov ebx, [code_dpl]
    shl ebx, 5
    or ebx, [code_type]
    or ebx, 0x4000 + CODE
    call describe
    mov dword [table + GATE_SELECTOR], CODE_UNDER_TEST << 16
    mov eax, [gate_dpl]
    shl eax, 13
    or eax, [gate_type]
    or eax, PARAMETERS
    mov [table + GATE_SELECTOR + 4], eax
    mov dword [arrived], NOWHERE_YET
    mov dword [released], 0
    mov dword [sum], 0
    mov eax, through_call
    cmp dword [is_jump], 0
    je .probe
    mov eax, through_jump
.probe:
    pop ecx
    call probe
    cmp eax, NO_FAULT
    je .arrived
    mov al, [fault_letters + eax]
    cmp dword [found_error], GATE_SELECTOR
    je say
    or al, 0x20
    jmp say
.arrived:
    mov eax, [arrived]
    add al, '0'
    call say
    cmp dword [is_jump], 0
    jne .done
    mov eax, SUM_16
    mov edx, 0
    cmp dword [gate_type], GATE_16
    je .compare
    mov eax, SUM_32
    mov edx, PARAMETERS * 4
.compare:
    cmp eax, [sum]
    jne .wrong
    cmp edx, [released]
    je .done
.wrong:
    mov al, '!'
    jmp say
.done:
    ret

through_call:
    push 0x1111
    push 0x2222
    push 0x3333
    mov [stack_before], esp
    lcall [to_gate]
    mov eax, esp
    sub eax, [stack_before]
    mov [released], eax
    int LEAVE_GATE
through_jump:
    ljmp [to_gate]

.align 16
target:                                 ; at offset 0 of the code under test
    mov eax, cs
    and eax, 3
    mov [arrived], eax
    cmp dword [is_jump], 0
    jne .leave
    cmp dword [gate_type], GATE_16
    je .short
    mov eax, [esp + 8]
    add eax, [esp + 12]
    add eax, [esp + 16]
    mov [sum], eax
    retf PARAMETERS * 4
.short:                                 ; 16 bits of EIP are not enough to return to our code
    movzx eax, word [esp + 4]
    add ax, [esp + 6]
    add ax, [esp + 8]
    mov [sum], eax
.leave:
    int LEAVE_GATE

; -- returns -----------------------------------------------------------------------------------------------------------

all_returns:
    xor ebp, ebp                        ; the access byte
.next:
    mov eax, ebp
    mov ecx, 2
    call say_hex_digits
    tell " ret "
    mov esi, by_ret
    call to_code
    tell " iret "
    mov esi, by_iret
    call to_code
    tell " ss ret "
    mov esi, by_ret
    call with_stack
    tell " ss iret "
    mov esi, by_iret
    call with_stack
    mov al, 10
    call say
    inc ebp
    cmp ebp, 256
    jne .next
    ret

to_code:                                ; esi = code, ebp = access byte of the code returned to
    call describe_by_byte
    mov edi, SPARE_SELECTOR
    xor ecx, ecx
    xor eax, eax
.outward:                               ; eax = RPL
    push eax
    lea edx, [edi + eax]
    mov [return_selector], edx
    movzx edx, word [stacks + eax*2]
    mov [stack_selector], edx
    xor ecx, ecx
    call one_return
    pop eax
    inc eax
    cmp eax, 4
    jne .outward
    mov dword [stack_selector], USER_DATA_SELECTOR
    mov [return_selector], edi
    mov ecx, 3
    call one_return
    add dword [return_selector], 3
    mov ecx, 3
    jmp one_return

with_stack:                             ; esi = code, ebp = access byte of the stack
    mov eax, ebp
    and eax, 0x9A
    cmp eax, 0x12                       ; good but for P
    jne .all
    cmp esi, by_iret
    je .skip
    cmp dword [strict], 0
    jne .all
.skip:
    tell "--"
    ret
.all:
    call describe_by_byte
    mov edi, SPARE_SELECTOR
    mov dword [return_selector], USER_CODE_SELECTOR
    mov dword [stack_selector], SPARE_SELECTOR + 3
    xor ecx, ecx
    call one_return
    mov dword [stack_selector], SPARE_SELECTOR
    xor ecx, ecx
one_return:                             ; esi = code, ecx = ring it runs at
    mov eax, esi
    call probe
    cmp eax, NO_FAULT
    je .success
    mov al, [fault_letters + eax]
    cmp dword [found_error], SPARE_SELECTOR
    je say
    or al, 0x20
    jmp say
.success:
    mov al, '.'
    jmp say

describe_by_byte:                       ; ebp = access byte of SPARE
    mov eax, SPARE_SELECTOR
    xor edx, edx
    mov ecx, 0xFFFFF
    mov ebx, ebp
    and ebx, 0x1C
    cmp ebx, 0x14                       ; expand-down data: the limit is where it begins
    jne .limit
    xor ecx, ecx
.limit:
    mov ebx, ebp
    or ebx, 0xC000
    jmp describe

.align 4
stacks:                                 ; of a ring
    .word DATA_SELECTOR, RING_1_DATA_SELECTOR + 1, RING_2_DATA_SELECTOR + 2, USER_DATA_SELECTOR

by_ret:
    push dword [stack_selector]
    push outer_stack_top
    push dword [return_selector]
    push landed
    retf
by_iret:
    push dword [stack_selector]
    push outer_stack_top
    push FLAG_RESERVED
    push dword [return_selector]
    push landed
    iretd
landed:
    int LEAVE_GATE
