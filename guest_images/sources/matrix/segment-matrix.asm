; segment-matrix: every access byte of a descriptor, loaded into DS and SS, asked about, jumped to, from rings 0 and 3.
;
; One line an access byte. Under ds, ss and jmp there is a character for each ring and RPL (0 0, 0 3, 3 0, 3 3): a dot if
; it was loaded, else a letter for the exception, small if its error code is not the selector's: G #GP, N #NP, S #SS.
; Under lar, lsl, verr and verw: 1 or 0 for ZF. Available TSS are not jumped to: task-matrix does.
; With accesses=on also accesses at the limits of every type of segment (segment-limits.asm).
; result = hash of the transcript, which must be the expected one up to there; ops = probes.
; SDM vol. 3A 3.4.5, 5.2 to 5.8; vol. 2 LAR LSL VERR VERW.

default_n = 1
EXPECTED_HASH = 0x4534AC7A

.include "platform.asm"
.include "interrupts.asm"
.include "probe.asm"
.include "segment-limits.asm"

guest_name:
    .byte "segment-matrix", 0
accesses_option:
    .byte "accesses=on", 0

main:
    pushad
    call probes_init
    xor ebp, ebp                        ; the access byte
.next:
    mov eax, ebp
    mov ecx, 2
    call say_hex_digits
    tell " ds "
    mov esi, load_ds
    call four_ways
    tell " ss "
    mov esi, load_ss
    call four_ways
    tell " lar "
    mov esi, ask_lar
    call four_ways
    tell " lsl "
    mov esi, ask_lsl
    call four_ways
    tell " verr "
    mov esi, ask_verr
    call four_ways
    tell " verw "
    mov esi, ask_verw
    call four_ways
    mov eax, ebp
    and eax, 0x17                       ; an available TSS is 1 or 9
    cmp eax, 1
    je .no_jump
    tell " jmp "
    mov esi, far_jump
    call four_ways
.no_jump:
    mov al, 10
    call say
    inc ebp
    cmp ebp, 256
    jne .next
    cmp dword [hash], EXPECTED_HASH
    jne exit_failed
    mov eax, accesses_option
    call find_option
    test eax, eax
    jz .done
    call all_limits
    cmp dword [failures], 0
    jne exit_failed
.done:
    mov eax, [hash]
    mov edx, [probe_count]
    mov [esp + 28], eax
    mov [esp + 20], edx
    popad
    ret

four_ways:                              ; esi = code, ebp = access byte: rings 0 and 3, each with RPL 0 and 3
    xor ecx, ecx
    mov edi, SPARE_SELECTOR
    call one_way
    xor ecx, ecx
    mov edi, SPARE_SELECTOR + 3
    call one_way
    mov ecx, 3
    mov edi, SPARE_SELECTOR
    call one_way
    mov ecx, 3
    mov edi, SPARE_SELECTOR + 3
one_way:                                ; esi = code, ecx = ring, edi = selector
    push ecx
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
    call describe
    pop ecx
    xor ebx, ebx
    mov dword [answer], 0
    mov eax, esi
    call probe
    cmp eax, NO_FAULT
    jne .fault
    mov al, '.'
    cmp dword [answer], 0
    je say
    mov al, [answer]
    jmp say
.fault:
    mov al, [fault_letters + eax]
    cmp dword [found_error], SPARE_SELECTOR
    je say
    or al, 0x20
    jmp say

load_ds:
    mov ds, edi
    int LEAVE_GATE
load_ss:
    mov ss, edi
    int LEAVE_GATE
ask_lar:
    lar eax, edi
    jmp leave_with_zf
ask_lsl:
    lsl eax, edi
    jmp leave_with_zf
ask_verr:
    verr di
    jmp leave_with_zf
ask_verw:
    verw di
leave_with_zf:
    mov dword [answer], '0'
    jnz .leave
    mov dword [answer], '1'
.leave:
    int LEAVE_GATE
far_jump:
    mov [far_pointer + 4], edi
    ljmp [far_pointer]
jumped_to:
    int LEAVE_GATE

.section data
far_pointer:
    .long jumped_to
    .long 0
.section bss
answer:
    .space 4
.section text
